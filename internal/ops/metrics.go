package ops

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

func (s *Server) register(r prometheus.Registerer, b Build) error {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "fanfare_build_info",
		Help:        "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "goversion": b.GoVersion},
	})
	info.Set(1)
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanfare_ready",
		Help: "1 while /readyz says 200.",
	}, func() float64 {
		if s.ready(context.Background()).Ready { //nolint:forbidigo // a scrape has no context; ready has a deadline of its own
			return 1
		}
		return 0
	})
	for _, c := range []prometheus.Collector{info, ready} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}
