package trigger

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	latency  *prometheus.HistogramVec // by action
	total    *prometheus.CounterVec   // by action, outcome
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, endpoints *endpoints) (*metrics, error) {
	m := &metrics{
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "fanfare_trigger_latency_seconds",
			Help:                            "How long webhooks took, failed calls included, by action (join, message).",
			Buckets:                         []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"action"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_trigger_total", Help: "Webhooks due, called or not, by action and outcome.",
		}, []string{"action", "outcome"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fanfare_trigger_in_flight", Help: "Webhook calls under way.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.latency, m.total, m.inFlight,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fanfare_trigger_breakers_open", Help: "Webhook endpoints not called because they have been failing.",
		}, func() float64 { return float64(endpoints.open()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fanfare_trigger_endpoints", Help: "Webhook endpoints whose state is kept.",
		}, func() float64 { return float64(endpoints.len()) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of trigger: %w", err)
		}
	}
	return m, nil
}
