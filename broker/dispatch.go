package broker

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"fanfare/internal/envelope"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// liveQueue is how many messages may wait for a dispatcher before nats.go drops them (and says so).
const liveQueue = 65536

// liveConn is a connection for live publications and the queue of its dispatcher. A topic's subscription stays
// on one of them, so that its order is kept.
type liveConn struct {
	nc *nats.Conn
	in chan *nats.Msg
}

// dispatch hands what comes on a connection to the feeds.
func (b *Broker) dispatch(ctx context.Context, l *liveConn) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-l.in:
			b.receive(m)
		}
	}
}

// Headers of republished messages.
const (
	headerSequence = "Nats-Sequence"
	headerPrevious = "Nats-Last-Sequence"
	headerMarker   = "Nats-Marker-Reason"
)

func (b *Broker) receive(m *nats.Msg) {
	f := b.interest.subject(m.Sub.Subject)
	if f == nil || f.closed.Load() {
		return
	}
	if b.dropForTest != nil && b.dropForTest(m) {
		return
	}
	number := m.Header.Get(headerSequence)
	if number == "" {
		b.receiveUnstored(f, m)
		return
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || seq == 0 {
		b.metrics.received.WithLabelValues("unreadable").Inc()
		return
	}
	previous, _ := strconv.ParseUint(m.Header.Get(headerPrevious), 10, 64)
	p := &protocol.Publication{}
	if m.Header.Get(headerMarker) != "" || envelope.Decode(m.Data, p) != nil {
		// It has a place in the order, nothing else.
		*p = protocol.Publication{}
		if _, p.Channel, err = subject.DecodeLive(m.Subject); err != nil {
			b.metrics.received.WithLabelValues("unreadable").Inc()
			return
		}
	}
	if f.pattern && !f.topic.Channel.Covers(p.Channel) {
		return
	}
	b.metrics.receivedStored.Inc()
	f.arrive(p, seq, previous)
}

func (b *Broker) receiveUnstored(f *Feed, m *nats.Msg) {
	origin, number, err := envelope.Origin(m.Data)
	if err == nil && string(origin) == string(b.o.Node) {
		b.metrics.receivedOwn.Inc()
		return // delivered when it was published
	}
	p := &protocol.Publication{}
	if err != nil || envelope.Decode(m.Data, p) != nil {
		b.metrics.received.WithLabelValues("unreadable").Inc()
		return
	}
	if f.pattern && !f.topic.Channel.Covers(p.Channel) {
		return
	}
	if number > 0 && f.marks.late(p.Origin, number) {
		b.metrics.late.Inc()
		return
	}
	b.metrics.receivedUnstored.Inc()
	f.pass(p)
}
