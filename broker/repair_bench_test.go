package broker

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// landing is a Sink that tells when so many publications have come.
type landing struct {
	counter
	want atomic.Int64
	done chan struct{}
}

func (l *landing) Deliver(p *protocol.Publication) {
	l.counter.Deliver(p)
	if l.n.Load() == l.want.Load() {
		l.done <- struct{}{}
	}
}

// BenchmarkRepair is a hole in what the broker sent, from the publication behind it until all are delivered.
func BenchmarkRepair(b *testing.B) {
	for _, hole := range []int{1, 100} {
		b.Run(fmt.Sprint(hole), func(b *testing.B) {
			var dropping atomic.Bool
			var seen atomic.Int64
			r := solo(b, func(broker *Broker) {
				broker.dropForTest = func(m *nats.Msg) bool {
					drop := dropping.Load() && m.Header.Get(headerSequence) != ""
					seen.Add(1)
					return drop
				}
			})
			s := &landing{done: make(chan struct{}, 1)}
			if _, err := r.Attach(b.Context(), topic("room"), true, s); err != nil {
				b.Fatal(err)
			}
			n := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				dropping.Store(true)
				before := seen.Load()
				for range hole {
					n++
					r.mustPublish("room", fmt.Sprint(n), true)
				}
				natstest.Eventually(b, "the live path", func() bool { return seen.Load() == before+int64(hole) })
				dropping.Store(false)
				n++
				s.want.Store(n)
				b.StartTimer()
				r.mustPublish("room", fmt.Sprint(n), true)
				<-s.done
			}
		})
	}
}
