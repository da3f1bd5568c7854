package presence

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// fill joins n sessions of a gateway.
func (n *node) fill(topic protocol.Topic, count int) (all []protocol.SessionID) {
	n.t.Helper()
	for range count {
		s := n.session()
		n.Put(topic, s, entryOf(s, 0, 0, "x"))
		all = append(all, s)
	}
	n.flushed()
	return all
}

// purges counts the gateways removed, by the lease's end or by the sweep.
func (n *node) purges() float64 {
	return testutil.ToFloat64(n.metrics.purged.WithLabelValues("lease")) + testutil.ToFloat64(n.metrics.purged.WithLabelValues("orphan"))
}

func TestKilledGatewayIsHiddenThenPurged(t *testing.T) {
	urls := single(t)
	a, b, c := start(t, "aa", urls), start(t, "bb", urls), start(t, "cc", urls)
	topic := room("room1")
	sa, sb := a.fill(topic, 20), b.fill(topic, 5)
	r := c.watch(topic)
	r.sees(append(sa, sb...)...)
	killed := time.Now()
	a.kill()
	r.sees(sb...)
	if took := time.Since(killed); took < c.o.Suspect-c.o.Heartbeat || took > c.o.Lease {
		t.Errorf("hidden after %s", took)
	}
	if n := r.count(Leave); n != len(sa) {
		t.Errorf("%d leaves, want %d", n, len(sa))
	}
	if n := len(c.Nodes()); n != 3 {
		t.Errorf("%d nodes: a hidden one is still there until its lease ends", n)
	}
	natstest.Eventually(t, "the entries to be removed from the bucket", func() bool { return len(c.stored()) == len(sb) })
	natstest.Eventually(t, "the node to be gone", func() bool { return len(c.Nodes()) == 2 })
	natstest.Eventually(t, "the gateway with the lowest id to have purged it", func() bool {
		return b.purges() == 1
	})
	if n := c.purges(); n != 0 {
		t.Errorf("another one purged %v", n)
	}
	c.watch(topic).sees(sb...)
}

func TestGatewayThatIsCutOffBrieflyComesBack(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa := a.fill(topic, 10)
	r := b.watch(topic)
	own := b.fill(topic, 3)
	ra := a.watch(topic)
	ra.sees(own...)
	a.link.cut()
	r.sees()
	a.Delete(topic, sa[0]) // while away
	s := a.session()
	a.Put(topic, s, []byte("new"))
	a.link.heal()
	r.sees(append(sa[1:], s)...)
	ra.sees(own...)
	if n := testutil.ToFloat64(a.metrics.lost); n != 0 {
		t.Errorf("lease lost %v times", n)
	}
	if n := ra.count(Leave); n != 0 {
		t.Errorf("the gateway that was cut off saw %d leaves of the others", n)
	}
	if n := testutil.ToFloat64(b.metrics.returned); n != 1 {
		t.Errorf("%v gateways returned", n)
	}
}

func TestGatewayDeclaredDeadComesBackUnderANewGeneration(t *testing.T) {
	urls := single(t)
	a, b, c := start(t, "aa", urls), start(t, "bb", urls), start(t, "cc", urls)
	topic := room("room1")
	sb := b.fill(topic, 30)
	r := c.watch(topic)
	r.sees(sb...)
	first := b.current()
	b.link.cut()
	r.sees()
	natstest.Eventually(t, "the lease to end", func() bool { return len(c.Nodes()) == 2 && len(a.Nodes()) == 2 })
	b.Delete(topic, sb[0])
	natstest.Eventually(t, "the entries to be purged", func() bool { return len(c.stored()) == 0 })
	b.link.heal()
	r.sees(sb[1:]...)
	if gw := b.current(); gw == first || gw == "" {
		t.Errorf("generation %q after %q", gw, first)
	}
	if n := testutil.ToFloat64(b.metrics.lost); n != 1 {
		t.Errorf("lease lost %v times", n)
	}
	b.flushed()
	natstest.Eventually(t, "only entries of the new generation", func() bool {
		keys := c.stored()
		for _, k := range keys {
			if p, err := parseKey(k); err != nil || p.gw == first {
				return false
			}
		}
		return len(keys) == len(sb)-1
	})
	natstest.Eventually(t, "all nodes", func() bool { return len(c.Nodes()) == 3 && len(b.Nodes()) == 3 })
}

func TestLeaseTakenAwayMovesNobody(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa := a.fill(topic, 50)
	r := b.watch(topic)
	r.sees(sa...)
	js, err := jetstream.New(b.nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "fanfare_gateways")
	if err != nil {
		t.Fatal(err)
	}
	first := a.current()
	if err := kv.Purge(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "a new generation", func() bool { gw := a.current(); return gw != "" && gw != first })
	a.flushed()
	natstest.Eventually(t, "the old entries to go", func() bool {
		keys := b.stored()
		for _, k := range keys {
			if p, _ := parseKey(k); p.gw == first {
				return false
			}
		}
		return len(keys) == len(sa)
	})
	natstest.Eventually(t, "the old generation to be over", func() bool {
		var over bool
		_ = b.do(t.Context(), func(l *loop) { p := l.peers[first]; over = p == nil || p.state == peerDead })
		return over
	})
	r.sees(sa...)
	if j, l := r.count(Join), r.count(Leave); j != len(sa) || l != 0 {
		t.Errorf("%d joins and %d leaves: a new generation is no reason to leave", j, l)
	}
}

func TestBrokerAwayLongerThanTheLease(t *testing.T) {
	broker := natstest.Single(t)
	urls := []string{broker.URL()}
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa, sb := a.fill(topic, 40), b.fill(topic, 10)
	ra, rb := a.watch(topic), b.watch(topic)
	ra.sees(sb...)
	rb.sees(sa...)
	broker.Stop()
	late, gone := a.session(), sa[0]
	a.Put(topic, late, []byte("late"))
	a.Delete(topic, gone)
	deadline := time.NewTimer(a.o.Lease + a.o.Lease/2)
	<-deadline.C
	if n := rb.count(Leave) + ra.count(Leave); n != 0 {
		t.Errorf("%d leaves while nobody could hear anybody", n)
	}
	broker.Start(t)
	rb.sees(append(sa[1:], late)...)
	ra.sees(sb...)
	a.flushed()
	b.flushed()
	natstest.Eventually(t, "the bucket to be right", func() bool { return len(a.stored()) == len(sa)+len(sb) })
	rb.sees(append(sa[1:], late)...)
	if n := rb.count(Leave); n != 1 {
		t.Errorf("%d leaves, want the one", n)
	}
	if n := ra.count(Leave); n != 0 {
		t.Errorf("%d leaves, want none", n)
	}
}

func TestBucketThatIsLostIsWrittenAgain(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa := a.fill(topic, 25)
	r := b.watch(topic)
	r.sees(sa...)
	js, err := jetstream.New(b.nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), stream(0)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "all entries to be back", func() bool { return len(b.stored()) == len(sa) })
	r.sees(sa...)
	s := a.session()
	a.Put(topic, s, []byte("after"))
	r.sees(append(sa, s)...)
	b.watch(topic).sees(append(sa, s)...)
}

func TestGhostOfOurOwnIsBuried(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa := a.fill(topic, 3)
	a.watch(topic) // a looks at what it has there itself
	r := b.watch(topic)
	r.sees(sa...)
	ghost := a.session()
	if err := b.nc.Publish(bucketPrefix(0)+head(topic)+a.current()+"."+string(ghost), []byte("ghost")); err != nil {
		t.Fatal(err)
	}
	r.sees(append(sa, ghost)...)
	r.sees(sa...)
	if n := testutil.ToFloat64(a.metrics.ghosts); n != 1 {
		t.Errorf("%v ghosts found", n)
	}
}

func TestOrphansAreSweptUp(t *testing.T) {
	urls := single(t)
	a := start(t, "aa", urls, func(o *Options) { o.Sweep = 500 * time.Millisecond })
	sa := a.fill(room("a/b"), 3)
	dead := protocol.NodeID("gone0000-7")
	for _, c := range []string{"x", "a/b", "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"} {
		if err := a.nc.Publish(bucketPrefix(0)+head(room(c))+string(dead)+".gone0000orphan", []byte("orphan")); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "the orphans to be stored", func() bool { return len(a.stored()) == len(sa)+3 })
	a.watch(room("a/b")).sees() // never seen
	natstest.Eventually(t, "the orphans to be removed", func() bool { return len(a.stored()) == len(sa) })
	if n := testutil.ToFloat64(a.metrics.purged.WithLabelValues("orphan")); n != 1 {
		t.Errorf("%v gateways purged", n)
	}
}
