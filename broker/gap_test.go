package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

func value(c prometheus.Metric) float64 {
	var m dto.Metric
	_ = c.Write(&m)
	return m.GetCounter().GetValue()
}

// dropSome drops stored messages from the live path.
func dropSome(share float64, on *atomic.Bool) func(*Broker) {
	return func(b *Broker) {
		b.dropForTest = func(m *nats.Msg) bool {
			return on.Load() && m.Header.Get(headerSequence) != "" && rand.Float64() < share
		}
	}
}

// dropper drops what it is told to, one by one.
type dropper struct {
	on   atomic.Bool
	seen atomic.Int64
}

func (d *dropper) change() func(*Broker) {
	return func(b *Broker) {
		b.dropForTest = func(m *nats.Msg) bool {
			drop := d.on.Load() && m.Header.Get(headerSequence) != ""
			d.seen.Add(1)
			return drop
		}
	}
}

// publish stores a publication and waits until the live path has dropped it or let it pass.
func (d *dropper) publish(t *testing.T, r *rig, c protocol.Channel, id string, drop bool) {
	t.Helper()
	d.on.Store(drop)
	before := d.seen.Load()
	r.mustPublish(c, id, true)
	natstest.Eventually(t, "the live path", func() bool { return d.seen.Load() > before })
}

func fastSweep(o *Options) { o.SweepInterval = time.Second }

// equalToStream waits until a sink has exactly what the stream has.
func equalToStream(t *testing.T, r *rig, c protocol.Channel, s *record) {
	t.Helper()
	var want []string
	read := func() bool {
		want = want[:0]
		for after := uint64(0); ; {
			pubs, more, err := r.store.After(t.Context(), topic(c), subject.Shard(1, c), after, 256)
			if err != nil {
				return false
			}
			for _, p := range pubs {
				want = append(want, p.ID)
				_, after = subject.SplitOffset(p.Offset)
			}
			if !more {
				break
			}
		}
		return true
	}
	// Any replica may answer, also one that lags after an election: what counts is what they end with.
	deadline := time.Now().Add(time.Minute)
	for !read() || !slices.Equal(s.got(), want) {
		if time.Now().After(deadline) {
			t.Errorf("%s: got %d publications, the stream has %d, or others", c, s.count(), len(want))
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	s.check(t)
}

// TestDrops: of the republished messages many are dropped on purpose; every feed still ends exactly equal to the
// stream, patterns too.
func TestDrops(t *testing.T) {
	var on atomic.Bool
	on.Store(true)
	// So many that the last one of some channel is among them, whose loss no later one shows: of 120 chances all but one in 300 000.
	r := solo(t, dropSome(0.1, &on), fastSweep)
	const channels, each = 60, 20
	var sinks [channels]*record
	name := func(i int) protocol.Channel { return protocol.Channel(fmt.Sprintf("chat/%d", i)) }
	for i := range sinks {
		_, sinks[i] = r.attach(name(i), true)
	}
	_, all := r.attach("chat/*", true)
	var group sync.WaitGroup
	for n := range each {
		for i := range sinks {
			group.Add(1)
			r.Publish(r.publication(name(i), fmt.Sprintf("%d:%d", i, n)), true, protocol.SessionID(fmt.Sprint("lane", i)), func(_ protocol.Receipt, err error) {
				if err != nil {
					t.Error(err)
				}
				group.Done()
			})
		}
	}
	group.Wait()
	for i, s := range sinks {
		equalToStream(t, r, name(i), s)
	}
	natstest.Eventually(t, "all channels below the pattern", func() bool { return all.count() >= channels*each })
	all.check(t)
	if n := all.count(); n != channels*each {
		t.Errorf("the pattern got %d, want %d", n, channels*each)
	}
	link, tail := value(r.metrics.gaps.WithLabelValues("link")), value(r.metrics.gaps.WithLabelValues("tail"))
	if link == 0 || tail == 0 || value(r.metrics.repaired) == 0 || value(r.metrics.unrepaired) != 0 {
		t.Errorf("gaps by link %v, by tail %v, repaired %v, unrepaired %v", link, tail, value(r.metrics.repaired), value(r.metrics.unrepaired))
	}
	on.Store(false)
	natstest.Eventually(t, "the pattern to forget what is verified", func() bool {
		var feed *Feed
		r.interest.each(func(f *Feed) {
			if f.pattern {
				feed = f
			}
		})
		feed.mu.Lock()
		defer feed.mu.Unlock()
		return len(feed.below.chains) == 0
	})
}

// TestUnrepairable: what the stream no longer has is told, and the rest goes on.
func TestUnrepairable(t *testing.T) {
	var d dropper
	r := solo(t, d.change())
	_, room := r.attach("room", true)
	d.publish(t, r, "room", "1", false)
	d.publish(t, r, "room", "2", true)
	d.publish(t, r, "room", "3", true)
	if err := r.store.Trim(t.Context(), 1, "room", 1); err != nil { // 2 is gone, 3 is there
		t.Fatal(err)
	}
	d.publish(t, r, "room", "4", false)
	room.expect(t, "1", "3", "4")
	if len(room.gaps) != 1 { // nobody can tell whether there was something before 3
		t.Errorf("gaps %v: 2 was never delivered", room.gaps)
	}
	d.publish(t, r, "room", "5", true)
	if err := r.store.Purge(t.Context(), topic("room")); err != nil {
		t.Fatal(err)
	}
	d.publish(t, r, "room", "6", false) // its link goes back to 0: a purge is no gap
	room.expect(t, "1", "3", "4", "6")

	// A link that points to what is gone.
	f := r.interest.subject("fanfare.o.1.room")
	f.mu.Lock()
	last := f.chain.last
	f.mu.Unlock()
	p := r.publication("room", "7")
	f.arrive(p, last+10, last+5)
	room.expect(t, "1", "3", "4", "6", "7")
	if want := fmt.Sprintf("room %d-%d", last, last+5); len(room.gaps) != 2 || room.gaps[1] != want {
		t.Errorf("gaps %v, want %s", room.gaps, want)
	}
	if value(r.metrics.unrepaired) != 2 {
		t.Errorf("unrepaired %v", value(r.metrics.unrepaired))
	}
}

// laggard is a Backfill whose replicas lag: After answers with nothing for a while.
type laggard struct {
	Backfill
	stale atomic.Int64 // answers still to be stale
}

func (l *laggard) After(ctx context.Context, t protocol.Topic, shard int, after uint64, max int) ([]*protocol.Publication, bool, error) {
	if l.stale.Add(-1) >= 0 {
		return nil, false, nil
	}
	return l.Backfill.After(ctx, t, shard, after, max)
}

// TestStaleReplica: one that lags is asked again; one that lags for long is overruled by the leader.
func TestStaleReplica(t *testing.T) {
	var d dropper
	back := &laggard{}
	r := solo(t, d.change(), func(o *Options) {
		back.Backfill = o.Backfill
		o.Backfill = back
	})
	_, room := r.attach("room", true)
	want := []string{}
	for round, stale := range []int64{3, 1 << 40} {
		back.stale.Store(stale)
		for i := range 10 {
			id := fmt.Sprint(round, i)
			d.publish(t, r, "room", id, i > 0 && i < 9)
			want = append(want, id)
		}
		room.expect(t, want...)
	}
	if len(room.gaps) > 0 || value(r.metrics.stale) == 0 {
		t.Errorf("gaps %v, stale %v", room.gaps, value(r.metrics.stale))
	}
}

// TestHeldOverflow: while a hole is read, no more than maxHeld publications wait in memory, and none is lost.
func TestHeldOverflow(t *testing.T) {
	back := &laggard{}
	var d dropper
	r := solo(t, d.change(), func(o *Options) {
		back.Backfill = o.Backfill
		o.Backfill = back
	})
	_, room := r.attach("room", true)
	d.publish(t, r, "room", "0", true)
	d.on.Store(false)
	back.stale.Store(50)
	want := []string{"0"}
	var group sync.WaitGroup
	for i := 1; i <= 800; i++ {
		group.Add(1)
		want = append(want, fmt.Sprint(i))
		r.Publish(r.publication("room", fmt.Sprint(i)), true, "lane", func(protocol.Receipt, error) { group.Done() })
	}
	group.Wait()
	f := r.interest.subject("fanfare.o.1.room")
	f.mu.Lock()
	if len(f.chain.held) > maxHeld {
		t.Errorf("%d held", len(f.chain.held))
	}
	f.mu.Unlock()
	room.expect(t, want...)
}

// TestPatternLimit: a pattern follows a bounded number of channels, and says so when that costs something.
func TestPatternLimit(t *testing.T) {
	r := solo(t)
	f, all := r.attach("chat/*", true)
	f.mu.Lock()
	f.below.max = 10
	f.mu.Unlock()
	const n = 300
	for i := range n {
		r.mustPublish(protocol.Channel(fmt.Sprintf("chat/%d", i)), fmt.Sprint(i), true)
		f.mu.Lock()
		if len(f.below.chains) > 20 {
			t.Errorf("%d channels are followed", len(f.below.chains))
		}
		f.mu.Unlock()
	}
	natstest.Eventually(t, "all", func() bool { return all.count() == n })
	all.check(t)
}

// TestSetStored: history switched on and off under traffic.
func TestSetStored(t *testing.T) {
	r := solo(t)
	f, room := r.attach("room", false)
	r.mustPublish("room", "a", false)
	r.mustPublish("room", "b", true) // nobody listens to the stream yet
	if err := f.SetStored(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.mustPublish("room", "c", true)
	room.expect(t, "a", "c")
	if room.resetCount() != 2 || room.resets[1].Offset == 0 {
		t.Errorf("resets %+v", room.resets)
	}
	if err := f.SetStored(t.Context(), true); err != nil || room.resetCount() != 2 {
		t.Errorf("the same again: %v, resets %v", err, room.resets)
	}
	if err := f.SetStored(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.mustPublish("room", "d", false)
	r.mustPublish("room", "e", true) // from a gateway that has not heard of it
	natstest.Eventually(t, "e", func() bool { return room.count() == 4 })
	if err := f.SetStored(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.mustPublish("room", "f", true)
	room.expect(t, "a", "c", "d", "e", "f")
	f.Detach()
	f.Detach()
	r.mustPublish("room", "g", false)
	r.mustPublish("room", "h", true)
	if _, err := r.Attach(t.Context(), topic("room"), true, &record{}); err != nil {
		t.Error("again after detaching:", err)
	}
	if _, err := r.Attach(t.Context(), topic("room"), true, &record{}); err == nil {
		t.Error("attached twice")
	}
	if n := room.count(); n != 5 {
		t.Errorf("%d after detaching", n)
	}
}

// TestRecreated: when a stream is created anew, its feeds start over and say so.
func TestRecreated(t *testing.T) {
	r := solo(t, fastSweep)
	_, room := r.attach("room", true)
	_, all := r.attach("roo/*", true)
	for i := range 5 {
		r.mustPublish("room", fmt.Sprint(i), true)
	}
	room.expect(t, "0", "1", "2", "3", "4")
	shard := subject.Shard(1, "room")
	if _, err := r.o.Client.Control().Request("$JS.API.STREAM.DELETE."+subject.Stream(shard), nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "Reset", func() bool { return room.resetCount() == 2 && all.resetCount() >= 2 })
	r.mustPublish("room", "new", true)
	room.expect(t, "0", "1", "2", "3", "4", "new")
	if len(room.gaps) != 1 || room.resets[0].Epoch == room.resets[1].Epoch {
		t.Errorf("gaps %v, resets %+v", room.gaps, room.resets)
	}
}

// TestAttachUnderTraffic: everything behind the position of Reset comes, whenever one attaches.
func TestAttachUnderTraffic(t *testing.T) {
	r := solo(t)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = r.publish("room", fmt.Sprint(i), true)
		}
	})
	for range 60 {
		s := &record{}
		f, err := r.Attach(t.Context(), topic("room"), true, s)
		if err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, "some publications", func() bool { return s.count() >= 3 })
		f.Detach()
		s.check(t)
		got := s.got()
		s.mu.Lock()
		_, seq := subject.SplitOffset(s.resets[0].Offset)
		s.mu.Unlock()
		pubs, _, err := r.store.After(t.Context(), topic("room"), subject.Shard(1, "room"), seq, 256)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, p := range pubs {
			want = append(want, p.ID)
		}
		if n := min(len(got), len(want)); !slices.Equal(got[:n], want[:n]) {
			t.Errorf("from %d: got %v, want %v", seq, got, want)
		}
	}
	cancel()
	group.Wait()
}
