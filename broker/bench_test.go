package broker

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"fanfare/internal/envelope"
	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// counter is a Sink that does next to nothing.
type counter struct{ n atomic.Int64 }

func (c *counter) Reset(protocol.Position)              {}
func (c *counter) Deliver(*protocol.Publication)        { c.n.Add(1) }
func (c *counter) Gap(protocol.Channel, uint64, uint64) {}

// BenchmarkPublishUnstored is what the broker adds to a message on a channel without history.
func BenchmarkPublishUnstored(b *testing.B) {
	for _, mode := range []string{"solo", "solo with patterns", "cluster"} {
		b.Run(mode, func(b *testing.B) {
			var r *rig
			if mode == "cluster" {
				r = newRig(b, "node0001", ConnectOptions{URLs: []string{natstest.Single(b).URL()}}, 1, func(o *Options) { o.MaxInFlight = 1 << 20 })
			} else {
				r = solo(b)
			}
			s := &counter{}
			for i := range 1000 {
				if _, err := r.Attach(b.Context(), topic(protocol.Channel(fmt.Sprintf("chat/room%d", i))), false, s); err != nil {
					b.Fatal(err)
				}
			}
			if mode == "solo with patterns" {
				if _, err := r.Attach(b.Context(), topic("chat/*"), false, s); err != nil {
					b.Fatal(err)
				}
			}
			p := r.publication("chat/room77", "id")
			done := func(_ protocol.Receipt, err error) {
				for err == protocol.ErrOverloaded { //nolint:errorlint // a sentinel
					_ = r.Flush(b.Context())
					err = nil
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Publish(p, false, "lane", done)
			}
			if err := r.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDispatch is from a message as nats.go gives it to the sink.
func BenchmarkDispatch(b *testing.B) {
	r := solo(b)
	s := &counter{}
	for i := range 1000 {
		if _, err := r.Attach(b.Context(), topic(protocol.Channel(fmt.Sprintf("room%d", i))), true, s); err != nil {
			b.Fatal(err)
		}
	}
	p := r.publication("room77", "id")
	p.Origin = "node0002"
	data := envelope.Append(nil, p)
	name := subject.Live(topic("room77"))
	b.Run("unstored", func(b *testing.B) {
		m := &nats.Msg{Subject: name, Data: envelope.Numbered(p), Sub: &nats.Subscription{Subject: name}}
		b.ReportAllocs()
		for n := uint64(1); b.Loop(); n++ {
			envelope.SetNumber(m.Data, n)
			r.receive(m)
		}
	})
	b.Run("own", func(b *testing.B) {
		own := *p
		own.Origin = "node0001"
		m := &nats.Msg{Subject: name, Data: envelope.Append(nil, &own), Sub: &nats.Subscription{Subject: name}}
		b.ReportAllocs()
		for b.Loop() {
			r.receive(m)
		}
	})
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		seq := uint64(1 << 30)
		header := nats.Header{headerSequence: {""}, headerPrevious: {"0"}}
		m := &nats.Msg{Subject: name, Data: data, Header: header, Sub: &nats.Subscription{Subject: name}}
		for b.Loop() {
			seq++
			header[headerSequence][0] = fmt.Sprint(seq)
			r.receive(m)
		}
	})
}

// BenchmarkPublishStored is a stored publication from Publish to its acknowledgement and its delivery, many at
// once, synced to disk.
func BenchmarkPublishStored(b *testing.B) {
	r := solo(b)
	s := &counter{}
	const channels = 64
	for i := range channels {
		if _, err := r.Attach(b.Context(), topic(protocol.Channel(fmt.Sprintf("room%d", i))), true, s); err != nil {
			b.Fatal(err)
		}
	}
	slots := make(chan struct{}, 512)
	var n int
	b.ReportAllocs()
	for b.Loop() {
		n++
		slots <- struct{}{}
		p := r.publication(protocol.Channel(fmt.Sprintf("room%d", n%channels)), fmt.Sprint(n))
		r.Publish(p, true, "", func(_ protocol.Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	if err := r.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	natstest.Eventually(b, "delivery", func() bool { return s.n.Load() == int64(n) })
}

// BenchmarkAttach is opening and closing the interest in a channel.
func BenchmarkAttach(b *testing.B) {
	for _, stored := range []bool{false, true} {
		b.Run(fmt.Sprintf("stored=%t", stored), func(b *testing.B) {
			r := solo(b)
			r.mustPublish("room", "1", true)
			b.ReportAllocs()
			for b.Loop() {
				f, err := r.Attach(b.Context(), topic("room"), stored, &counter{})
				if err != nil {
					b.Fatal(err)
				}
				f.Detach()
			}
		})
	}
}
