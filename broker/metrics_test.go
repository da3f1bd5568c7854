package broker

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	r := solo(t, func(o *Options) { o.Registerer = reg })
	r.mustPublish("room", "1", true)
	r.metrics.gaps.WithLabelValues("link").Inc()
	r.metrics.sweeps.WithLabelValues("sweep", "ok").Inc()
	r.metrics.dropped.WithLabelValues("cut").Inc()
	r.metrics.requests.WithLabelValues("ok").Inc()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	o := r.o
	if _, err := New(o); err == nil {
		t.Error("registered twice")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no options at all")
	}
}
