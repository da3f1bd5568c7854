package broker

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/broker/natsd"
)

// TestEmbeddedMetrics: an embedded broker tells what a broker of its own process does, and while it does not run that
// it does not, and the room on its disk.
func TestEmbeddedMetrics(t *testing.T) {
	e, err := natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: t.TempDir(), Sync: "2s", MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(e.Collector()); err != nil {
		t.Fatal(err)
	}
	read := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]float64)
		for _, f := range families {
			m := f.GetMetric()[0]
			out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return out
	}
	stopped := read()
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	running := read()
	const p = "fanfare_broker_server_"
	for name, want := range map[string]float64{"up": 1, "healthy": 1, "sync_interval_seconds": 2, "store_limit_bytes": 1 << 30, "meta_leader_known": 1, "peers": 1} {
		if running[p+name] != want {
			t.Errorf("%s is %v", name, running[p+name])
		}
	}
	if _, told := stopped[p+"store_limit_bytes"]; told || stopped[p+"up"] != 0 || stopped[p+"healthy"] != 0 {
		t.Errorf("while it did not run: %v", stopped)
	}
	for _, m := range []map[string]float64{stopped, running} {
		if free, size := m[p+"disk_free_bytes"], m[p+"disk_bytes"]; free <= 0 || size < free {
			t.Errorf("disk: %v of %v free", free, size)
		}
	}
}
