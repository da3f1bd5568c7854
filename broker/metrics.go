package broker

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	// The ones of the hot path, looked up once.
	passed, receivedStored, receivedUnstored, receivedOwn, late prometheus.Counter

	published  *prometheus.CounterVec
	ack        prometheus.Histogram
	retries    prometheus.Counter
	inFlight   prometheus.GaugeFunc
	received   *prometheus.CounterVec
	interests  prometheus.GaugeFunc
	gaps       *prometheus.CounterVec
	repaired   prometheus.Counter
	recovered  prometheus.Counter
	unrepaired prometheus.Counter
	stale      prometheus.Counter
	sweeps     *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	resets     prometheus.Counter
	reconnects prometheus.Counter
	connected  prometheus.GaugeFunc
	requests   *prometheus.CounterVec
}

func newMetrics(b *Broker, r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "fanfare_broker_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanfare_broker_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fanfare_broker_" + name, Help: help}, f)
	}
	m := &metrics{
		published: vec("publications_total", "Publications handed to the broker, by kind (stored, unstored) and result (ok, duplicate, conflict, unavailable, unknown, overloaded, refused).", "kind", "result"),
		ack: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fanfare_broker_publish_ack_seconds", Help: "From the publish of a stored publication to its acknowledgement, retries included.",
			Buckets:                     prometheus.ExponentialBuckets(0.00005, 2, 19),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}),
		retries:    counter("publish_retries_total", "Stored publications sent again."),
		inFlight:   gauge("publish_in_flight", "Stored publications under way.", func() float64 { return float64(b.sender.inFlight.Load()) }),
		received:   vec("received_total", "Publications that came from the broker, by kind (stored, unstored, own, duplicate, late: unstored, behind a later one of its gateway, and dropped; unreadable).", "kind"),
		interests:  gauge("interests", "Topics this gateway listens to.", func() float64 { return float64(b.interest.size()) }),
		gaps:       vec("gaps_total", "Holes noticed in what the broker sent, by how (link: the next publication, tail: a check).", "found"),
		repaired:   counter("gaps_repaired_total", "Holes read from the stream."),
		recovered:  counter("publications_recovered_total", "Publications delivered by a repair."),
		unrepaired: counter("gaps_unrepaired_total", "Holes that history no longer has; clients were told."),
		stale:      counter("repair_stale_retries_total", "Reads repeated because a replica lagged."),
		sweeps:     vec("sweeps_total", "Checks of the newest publications, by cause (attach, sweep) and result.", "cause", "result"),
		dropped:    vec("dropped_total", "Losses known to have happened, by reason (slow_consumer: notices; cut: unsent while disconnected).", "reason"),
		resets:     counter("resets_total", "Topics positioned anew because their stream was recreated or went backwards."),
		reconnects: counter("reconnects_total", "Times that lost connections were back."),
		connected: gauge("connected", "1 while all connections to the broker are up.", func() float64 {
			if up, _ := b.o.Client.Connected(); up {
				return 1
			}
			return 0
		}),
		requests: vec("requests_total", "Requests of other gateways, by result (ok, error, overloaded).", "result"),
	}
	m.passed = m.published.WithLabelValues("unstored", "ok")
	m.receivedStored = m.received.WithLabelValues("stored")
	m.receivedUnstored = m.received.WithLabelValues("unstored")
	m.receivedOwn = m.received.WithLabelValues("own")
	m.late = m.received.WithLabelValues("late")
	// What an alert looks at is there from the start: a series that appears with its first count has no rate.
	for _, kind := range []string{"stored", "unstored"} {
		for _, result := range []string{"unavailable", "unknown", "overloaded"} {
			m.published.WithLabelValues(kind, result)
		}
	}
	m.published.WithLabelValues("stored", "ok")
	m.gaps.WithLabelValues("link")
	m.gaps.WithLabelValues("tail")
	m.dropped.WithLabelValues("slow_consumer")
	m.dropped.WithLabelValues("cut")
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.published, m.ack, m.retries, m.inFlight, m.received, m.interests, m.gaps, m.repaired, m.recovered, m.unrepaired,
		m.stale, m.sweeps, m.dropped, m.resets, m.reconnects, m.connected, m.requests,
	} {
		if err := r.Register(c); err != nil {
			return nil, err //nolint:wrapcheck // New adds the context
		}
	}
	return m, nil
}
