package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// TestPublishAcrossRestart: the broker goes away and comes back under load; what was acknowledged is there, once,
// and every lane in its order.
func TestPublishAcrossRestart(t *testing.T) {
	node := natstest.Single(t)
	r := newRig(t, "node0001", ConnectOptions{URLs: []string{node.URL()}}, 1)
	const lanes, each = 10, 60
	channels := []protocol.Channel{"room0", "room1", "room2"}
	var sinks []*record
	for _, c := range channels {
		_, s := r.attach(c, true)
		sinks = append(sinks, s)
	}
	var acked atomic.Int64
	var group sync.WaitGroup
	for lane := range lanes {
		group.Go(func() {
			for i := range each {
				p := r.publication(channels[lane%3], fmt.Sprintf("%d:%d", lane, i))
				p.Sender = protocol.SessionID(fmt.Sprint("lane", lane))
				answered := make(chan struct{})
				var next sync.WaitGroup
				next.Add(1)
				r.Publish(p, true, p.Sender, func(_ protocol.Receipt, err error) {
					if err != nil {
						t.Error(err)
					}
					acked.Add(1)
					close(answered)
				})
				if i%5 == 4 { // otherwise several of a lane wait
					<-answered
				}
			}
		})
	}
	natstest.Eventually(t, "some acknowledgements", func() bool { return acked.Load() > lanes*each/4 })
	node.Stop()
	node.Start(t)
	group.Wait()
	natstest.Eventually(t, "all acknowledgements", func() bool { return acked.Load() == lanes*each })
	checkLanes(t, r, channels, lanes*each)
	for i, s := range sinks {
		equalToStream(t, r, channels[i], s)
	}
}

// TestCluster: three servers, three gateways, drops on the live path, step-downs and a server that is killed; the
// gateways end exactly equal to the streams.
func TestCluster(t *testing.T) {
	cluster := natstest.NewCluster(t, 3)
	var on atomic.Bool
	on.Store(true)
	var rigs []*rig
	for i := range 3 {
		rigs = append(rigs, newRig(t, fmt.Sprintf("node000%d", i), ConnectOptions{URLs: []string{cluster.Nodes[i].URL(), cluster.Nodes[(i+1)%3].URL()}}, 3,
			dropSome(0.01, &on), fastSweep))
	}
	const channels = 40
	name := func(i int) protocol.Channel { return protocol.Channel(fmt.Sprintf("chat/%d", i)) }
	sinks := make([][]*record, len(rigs))
	patterns := make([]*record, len(rigs))
	for g, r := range rigs {
		for i := range channels {
			_, s := r.attach(name(i), true)
			sinks[g] = append(sinks[g], s)
		}
		_, patterns[g] = r.attach("chat/*", true)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var acked, unknown, refused atomic.Int64
	for g, r := range rigs {
		group.Go(func() {
			pace := time.NewTicker(4 * time.Millisecond)
			defer pace.Stop()
			var under sync.WaitGroup
			defer under.Wait()
			for n := 0; ctx.Err() == nil; n++ {
				<-pace.C
				i := n % channels
				under.Add(1)
				r.Publish(r.publication(name(i), fmt.Sprintf("%d:%d", g, n)), true, protocol.SessionID(fmt.Sprint("lane", g, i)), func(_ protocol.Receipt, err error) {
					switch {
					case err == nil:
						acked.Add(1)
					case errors.Is(err, protocol.ErrUnknownOutcome):
						unknown.Add(1)
					case errors.Is(err, protocol.ErrUnavailable): // not sent: no connection for 3 s, or behind one that waited too long
						refused.Add(1)
					default:
						t.Error(err)
					}
					under.Done()
				})
			}
		})
	}
	enough := func(n int64) {
		t.Helper()
		n += acked.Load()
		natstest.Eventually(t, "acknowledgements", func() bool { return acked.Load() >= n })
	}
	enough(500)
	for shard := range subject.Shards {
		leader := cluster.WaitLeader(t, subject.Stream(shard))
		if err := leader.Server().JetStreamStepdownStream("$G", subject.Stream(shard)); err != nil {
			t.Error(err)
		}
	}
	enough(500)
	victim := cluster.WaitLeader(t, subject.Stream(0))
	victim.Stop()
	enough(300)
	victim.Start(t)
	enough(300)
	cancel()
	group.Wait()
	t.Logf("%d acknowledged, %d of unknown outcome, %d refused", acked.Load(), unknown.Load(), refused.Load())

	var total int
	for g, r := range rigs {
		for i, s := range sinks[g] {
			equalToStream(t, r, name(i), s)
			if g == 0 {
				total += s.count()
			}
			if len(s.gaps) > 0 {
				t.Errorf("gateway %d: gaps %v", g, s.gaps)
			}
		}
	}
	if int64(total) < acked.Load() || int64(total) > acked.Load()+unknown.Load() {
		t.Errorf("%d stored, %d acknowledged, %d unknown", total, acked.Load(), unknown.Load())
	}
	for g, s := range patterns {
		natstest.Eventually(t, "the pattern", func() bool { return s.count() >= total })
		s.check(t)
		if s.count() != total || len(s.gaps) > 0 {
			t.Errorf("gateway %d: the pattern got %d of %d, gaps %v", g, s.count(), total, s.gaps)
		}
		m := rigs[g].metrics
		t.Logf("gateway %d: gaps by link %v, by tail %v, repaired %v, stale retries %v", g,
			value(m.gaps.WithLabelValues("link")), value(m.gaps.WithLabelValues("tail")), value(m.repaired), value(m.stale))
	}
}
