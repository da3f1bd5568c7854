package auth

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	tokens    *prometheus.CounterVec // by outcome
	refreshes *prometheus.CounterVec // by outcome
	keys      prometheus.Gauge
	fetched   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_auth_tokens_total", Help: "Tokens checked, by outcome.",
		}, []string{"outcome"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_auth_jwks_refreshes_total", Help: "Requests to the key server, by outcome (ok, error).",
		}, []string{"outcome"}),
		keys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fanfare_auth_jwks_keys", Help: "Usable public keys of the key server.",
		}),
		fetched: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fanfare_auth_jwks_fetched_timestamp_seconds", Help: "When the keys in use were fetched; 0 = never.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.tokens, m.refreshes, m.keys, m.fetched} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of auth: %w", err)
		}
	}
	return m, nil
}
