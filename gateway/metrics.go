package gateway

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

// metrics of sockets and fan-out. Counters are moved once per flush, never once per delivery. No label holds a
// channel, a session or a user.
type metrics struct {
	sessions, topics, backlogs         prometheus.Gauge
	accepted                           prometheus.Counter
	refused, closes, evictions, errors *prometheus.CounterVec
	frames, joins, dropped, presences  *prometheus.CounterVec
	bytesIn, bytesOut                  prometheus.Counter
	flushes                            prometheus.Counter
	publications, deliveries           [2]prometheus.Counter // of messages, of events
	ringWrites, plainWrites            prometheus.Counter
	ioURing                            prometheus.Gauge
	fanout                             prometheus.Histogram
	stages                             *prometheus.HistogramVec
	stageOf                            [stageCount]prometheus.Observer
	drainTotal                         prometheus.Gauge
	drained                            prometheus.Counter
	highWater                          atomic.Int64
	servers                            *serverLoads
}

type stage uint8

const (
	stageAccept  stage = iota // frame read → publication handed over, triggers left out
	stageTrigger              // asking the back end
	stageStore                // handed over → acknowledged by the stream
	stageTransit              // accepted by the first gateway → in the batch of the last
	stageQueue                // in the batch → flush begins
	stageWrite                // flush begins → written to the last member
	stageCount
)

var stageNames = [stageCount]string{"accept", "trigger", "store", "transit", "queue", "write"} //nolint:gochecknoglobals // a constant table

// latencyBuckets reach from 50 µs to 10 s.
var latencyBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10} //nolint:gochecknoglobals // a constant table

func newMetrics(o Options) *metrics {
	r := o.Registerer
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "fanfare_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanfare_" + name, Help: help}, []string{label})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanfare_" + name, Help: help})
		r.MustRegister(g)
		return g
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Name: "fanfare_" + name, Help: help, Buckets: latencyBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}
	}
	m := &metrics{
		sessions:   gauge("sessions", "Open sockets."),
		topics:     gauge("topics", "Channels and patterns this gateway listens to."),
		backlogs:   gauge("backlog_sessions", "Sockets whose backlog is being written: readers that do not keep up."),
		accepted:   counter("sessions_accepted_total", "Sockets accepted."),
		refused:    vec("sessions_refused_total", "Sockets refused, by reason.", "reason"),
		closes:     vec("sessions_closed_total", "Sockets ended, by reason.", "reason"),
		evictions:  vec("evictions_total", "Slow consumers ended, by what they ran into.", "reason"),
		errors:     vec("errors_total", "Error frames sent to clients, by code.", "code"),
		frames:     vec("frames_received_total", "Frames received, by action.", "action"),
		joins:      vec("joins_total", "Joins, by outcome.", "outcome"),
		dropped:    vec("frames_dropped_total", "Inbound frames refused, by reason.", "reason"),
		presences:  vec("members_changed_total", "Presence changes of sockets of this gateway, by action.", "action"),
		bytesIn:    counter("received_bytes_total", "Bytes of frames received."),
		bytesOut:   counter("sent_bytes_total", "Bytes of batches sent, counted once for each member."),
		flushes:    counter("flushes_total", "Batches written."),
		ioURing:    gauge("io_uring", "1 when flushes use io_uring."),
		drainTotal: gauge("drain_sessions", "Sockets at the beginning of the drain."),
		drained:    counter("drained_sessions_total", "Sockets sent away by the drain so far."),
	}
	// What an alert looks at is there from the start: a series that appears with its first count has no rate.
	for _, reason := range evictReasons[1:] {
		m.evictions.WithLabelValues(reason)
	}
	m.errors.WithLabelValues(string(protocol.CodeInternal))
	for _, reason := range closeReasons {
		m.closes.WithLabelValues(reason)
	}
	limit := gauge("sessions_limit", "limits.sockets: the most open sockets; 0 = no limit.")
	limit.Set(float64(o.Sockets))
	m.servers = newServerLoads()
	r.MustRegister(m.servers)
	publications := vec("publications_total", "Publications fanned out by this gateway, by kind (message, of a client; event, of a back end).", "kind")
	deliveries := vec("deliveries_total", "Publications times members they were fanned out to, by kind.", "kind")
	for i, kind := range []string{"message", "event"} {
		m.publications[i], m.deliveries[i] = publications.WithLabelValues(kind), deliveries.WithLabelValues(kind)
	}
	m.fanout = prometheus.NewHistogram(histogram("fanout_latency_seconds",
		"Accepted by the first gateway until written to the last socket of this one, once per publication."))
	m.stages = prometheus.NewHistogramVec(histogram("stage_latency_seconds",
		"The parts of the fan-out latency."), []string{"stage"})
	r.MustRegister(m.fanout, m.stages, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanfare_backlog_high_water_bytes", Help: "Largest backlog of a socket since the last scrape.",
	}, func() float64 { return float64(m.highWater.Swap(0)) }))
	writes := vec("batch_writes_total", "Batches written to a socket, by the way they took: io_uring, or plain (a system call for each, TLS, a backlog).", "way")
	m.ringWrites, m.plainWrites = writes.WithLabelValues("io_uring"), writes.WithLabelValues("plain")
	for i, name := range stageNames {
		m.stageOf[i] = m.stages.WithLabelValues(name)
	}
	return m
}

func (m *metrics) stage(s stage, d time.Duration) { m.stageOf[s].Observe(d.Seconds()) }

// written counts the members of one batch, of which so many were written to through a ring.
func (m *metrics) written(ring, members int) {
	m.ringWrites.Add(float64(ring))
	m.plainWrites.Add(float64(members - ring))
}

func (m *metrics) received(bytes int) { m.bytesIn.Add(float64(bytes)) }

func (m *metrics) presence(action protocol.PresenceAction) {
	m.presences.WithLabelValues(string(action)).Inc()
}

// flushed counts one batch written to so many members; started is when its flush began.
func (m *metrics) flushed(b *batch, members int, started time.Time, load *serverLoad) {
	now := time.Now()
	m.flushes.Inc()
	m.bytesOut.Add(float64(len(b.buf) * members))
	n := len(b.accepted)
	load.flushed(n, members, len(b.buf))
	if n == 0 {
		return
	}
	m.publications[0].Add(float64(n - b.events))
	m.deliveries[0].Add(float64((n - b.events) * members))
	if b.events > 0 {
		m.publications[1].Add(float64(b.events))
		m.deliveries[1].Add(float64(b.events * members))
	}
	queue, write := started.Sub(b.since).Seconds(), now.Sub(started).Seconds()
	m.stageOf[stageQueue].Observe(queue)
	m.stageOf[stageWrite].Observe(write)
	sampled := b.traced
	for i, accepted := range b.accepted {
		latency := now.Sub(accepted).Seconds()
		if len(sampled) > 0 && sampled[0].index == i {
			m.fanout.(prometheus.ExemplarObserver).ObserveWithExemplar(latency, sampled[0].exemplar()) //nolint:forcetypeassert // every histogram is one
			sampled = sampled[1:]
		} else {
			m.fanout.Observe(latency)
		}
		m.stageOf[stageTransit].Observe(max(0, b.since.Sub(accepted).Seconds()))
	}
}

func (m *metrics) backlogHighWater(n int) {
	for {
		old := m.highWater.Load()
		if int64(n) <= old || m.highWater.CompareAndSwap(old, int64(n)) {
			return
		}
	}
}
