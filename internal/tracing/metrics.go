package tracing

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	sent, failed, dropped prometheus.Counter
	failing               atomic.Bool
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fanfare_tracing_spans_total",
		Help: "Spans of sampled publications, by what came of them: sent, failed (the collector was out of reach or refused them), dropped (too many waited).",
	}, []string{"result"})
	m := &metrics{sent: spans.WithLabelValues("sent"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped")}
	if r == nil {
		return m, nil
	}
	if err := r.Register(spans); err != nil {
		return nil, fmt.Errorf("register metrics of tracing: %w", err)
	}
	return m, nil
}

// down and up tell whether that is news.
func (m *metrics) down() bool { return !m.failing.Swap(true) }
func (m *metrics) up() bool   { return m.failing.Swap(false) }
