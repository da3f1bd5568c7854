package gateway

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/protocol"
)

// What a realtime server causes is counted for it, and only for it.
func TestServerLoads(t *testing.T) {
	loads := newServerLoads()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(loads)
	one, two := loads.of(1), loads.of(2)
	if one != loads.of(1) || one == two {
		t.Fatal("a server has another load each time")
	}
	one.opened()
	one.opened()
	one.closed()
	one.received()
	two.flushed(3, 10, 100)
	var none *serverLoad
	none.opened()
	none.received()
	none.flushed(1, 1, 1)
	none.closed()
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP fanfare_server_sessions Open sockets, by realtime server.
# TYPE fanfare_server_sessions gauge
fanfare_server_sessions{server="1"} 1
fanfare_server_sessions{server="2"} 0
# HELP fanfare_server_deliveries_total Publications times members they were fanned out to, by realtime server.
# TYPE fanfare_server_deliveries_total counter
fanfare_server_deliveries_total{server="1"} 0
fanfare_server_deliveries_total{server="2"} 30
# HELP fanfare_server_sent_bytes_total Bytes of batches sent, counted once for each member, by realtime server.
# TYPE fanfare_server_sent_bytes_total counter
fanfare_server_sent_bytes_total{server="1"} 0
fanfare_server_sent_bytes_total{server="2"} 1000
`), "fanfare_server_sessions", "fanfare_server_deliveries_total", "fanfare_server_sent_bytes_total"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// However many servers come and go, the series are bounded: what is too many is counted together.
func TestServerLoadsAreBounded(t *testing.T) {
	loads := newServerLoads()
	for id := range protocol.ServerID(3 * maxServerLoads) {
		loads.of(id + 1).received()
	}
	if n := testutil.CollectAndCount(loads, "fanfare_server_frames_received_total"); n != maxServerLoads+1 {
		t.Errorf("%d series", n)
	}
	if n := loads.of(5 * maxServerLoads).frames.Load(); n != 2*maxServerLoads {
		t.Errorf("%d frames of others", n)
	}
}

// A topic and its sessions count for their server.
func TestServerLoadsFollow(t *testing.T) {
	s, top, _ := room(t, 3, 0)
	top.Deliver(event("room", "payload"))
	top.flushed()
	load := s.metrics.servers.of(top.key.Server)
	if p, d := load.publications.Load(), load.deliveries.Load(); p != 1 || d != 3 {
		t.Errorf("%d publications, %d deliveries", p, d)
	}
}

// Messages of clients and events of back ends are told apart.
func TestPublicationsByKind(t *testing.T) {
	s, top, _ := room(t, 3, 0)
	p := event("room", "payload")
	p.Kind = protocol.KindEvent
	top.Deliver(p)
	top.flushed()
	p = event("room", "payload")
	p.Kind = protocol.KindMessage
	top.Deliver(p)
	top.flushed()
	for i := range 2 {
		if n, d := testutil.ToFloat64(s.metrics.publications[i]), testutil.ToFloat64(s.metrics.deliveries[i]); n != 1 || d != 3 {
			t.Errorf("kind %d: %v publications, %v deliveries", i, n, d)
		}
	}
}
