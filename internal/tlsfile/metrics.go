package tlsfile

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reloads *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, p *Pair) (*metrics, error) {
	m := &metrics{reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fanfare_tls_reloads_total",
		Help: "Changes seen in the certificate's files, by what came of them: ok or failed.",
	}, []string{"result"})}
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("failed")
	if r == nil {
		return m, nil
	}
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanfare_tls_certificate_expiry_seconds",
		Help: "Time until the certificate in force expires; negative when it has.",
	}, func() float64 { return time.Until(p.NotAfter()).Seconds() })
	for _, c := range []prometheus.Collector{m.reloads, expiry} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
