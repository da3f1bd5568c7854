package ops

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

func register(r prometheus.Registerer, b Build) error {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "fanfare_build_info",
		Help:        "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "goversion": b.GoVersion},
	})
	info.Set(1)
	if err := r.Register(info); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}
