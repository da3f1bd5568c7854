package history

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m, err := newMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	m.observeAll()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if _, err := newMetrics(reg); err == nil {
		t.Error("registered twice")
	}
}

// observeAll makes every vector show up.
func (m *metrics) observeAll() {
	m.reads.WithLabelValues("page").Observe(1)
	m.failed.WithLabelValues("page").Inc()
	m.resumes.WithLabelValues("true").Inc()
	m.trims.WithLabelValues("done").Inc()
}
