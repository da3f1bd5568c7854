package gateway

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

// maxServerLoads bounds the realtime servers that are counted one by one; there cannot be more at a time, but over the
// life of a node they may be deleted and made anew. Further ones are counted together, as "other".
const maxServerLoads = 1024

// otherServers stands for them.
const otherServers protocol.ServerID = -1

// serverLoad is what one realtime server has and causes on this node. Its methods do nothing on nil, which is what a
// session has that never belonged to a server.
type serverLoad struct {
	sessions                                  atomic.Int64
	frames, publications, deliveries, written atomic.Uint64
}

func (l *serverLoad) opened() {
	if l != nil {
		l.sessions.Add(1)
	}
}

func (l *serverLoad) closed() {
	if l != nil {
		l.sessions.Add(-1)
	}
}

func (l *serverLoad) received() {
	if l != nil {
		l.frames.Add(1)
	}
}

// flushed counts a batch written to so many members.
func (l *serverLoad) flushed(publications, members, bytes int) {
	if l != nil {
		l.publications.Add(uint64(publications))
		l.deliveries.Add(uint64(publications) * uint64(members))
		l.written.Add(uint64(bytes) * uint64(members))
	}
}

// serverLoads are the loads by realtime server, as metrics too.
type serverLoads struct {
	mu   sync.Mutex
	byID map[protocol.ServerID]*serverLoad

	sessions, frames, publications, deliveries, written *prometheus.Desc
}

func newServerLoads() *serverLoads {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("fanfare_server_"+name, help, []string{"server"}, nil)
	}
	return &serverLoads{
		byID:         make(map[protocol.ServerID]*serverLoad),
		sessions:     desc("sessions", "Open sockets, by realtime server."),
		frames:       desc("frames_received_total", "Frames received, by realtime server."),
		publications: desc("publications_total", "Publications fanned out by this gateway, by realtime server."),
		deliveries:   desc("deliveries_total", "Publications times members they were fanned out to, by realtime server."),
		written:      desc("sent_bytes_total", "Bytes of batches sent, counted once for each member, by realtime server."),
	}
}

// of gives the load of a server; it may be kept.
func (l *serverLoads) of(id protocol.ServerID) *serverLoad {
	l.mu.Lock()
	defer l.mu.Unlock()
	load := l.byID[id]
	if load == nil && len(l.byID) >= maxServerLoads {
		id = otherServers
		load = l.byID[id]
	}
	if load == nil {
		load = &serverLoad{}
		l.byID[id] = load
	}
	return load
}

// Describe implements prometheus.Collector.
func (l *serverLoads) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.sessions, l.frames, l.publications, l.deliveries, l.written} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (l *serverLoads) Collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	loads := maps.Clone(l.byID) // who scrapes slowly must not hold up new sockets
	l.mu.Unlock()
	for id, load := range loads {
		name := strconv.FormatInt(int64(id), 10)
		if id == otherServers {
			name = "other"
		}
		out <- prometheus.MustNewConstMetric(l.sessions, prometheus.GaugeValue, float64(load.sessions.Load()), name)
		for d, n := range map[*prometheus.Desc]*atomic.Uint64{
			l.frames: &load.frames, l.publications: &load.publications, l.deliveries: &load.deliveries, l.written: &load.written,
		} {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), name)
		}
	}
}
