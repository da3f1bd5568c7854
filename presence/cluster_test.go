package presence

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

func three(o *Options) {
	o.Replicas, o.Shards = 3, 2
	// An election takes 4 to 9 s: as in production the lease outlives it.
	o.Lease = 15 * time.Second
	o.Refresh = time.Second
	// Nobody may be hidden here by mistake, however busy the machine that runs the tests.
	o.Heartbeat, o.Suspect = 100*time.Millisecond, 3*time.Second
}

// The way of nats.md 4 to find holes: watch after watch under constant churn on a cluster, with all kinds of
// replicas answering. At the end each view must be what the writers say.
func TestViewsAreWholeUnderChurn(t *testing.T) {
	c := natstest.NewCluster(t, 3)
	once := func(o *Options) { three(o); o.Redo = time.Hour } // what the first reading misses stays missing
	writer := start(t, "aa", c.URLs()[:1], once)
	watchers := []*node{start(t, "bb", c.URLs()[1:2], once), start(t, "cc", c.URLs()[2:], once)}
	topics := []protocol.Topic{room("chat/a"), room("chat/b"), room("chat/c")}
	ctx, cancel := context.WithCancel(t.Context())
	var churn sync.WaitGroup
	here := make([]map[protocol.SessionID]bool, len(topics))
	for i, topic := range topics {
		here[i] = make(map[protocol.SessionID]bool)
		churn.Go(func() {
			var sessions []protocol.SessionID
			for range 30 {
				sessions = append(sessions, writer.session())
			}
			tick := time.NewTicker(500 * time.Microsecond)
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				s := sessions[rand.N(len(sessions))]
				switch {
				case !here[i][s]:
					here[i][s] = true
					writer.Put(topic, s, []byte("join "+strconv.Itoa(n)))
				case rand.N(3) == 0:
					writer.Put(topic, s, []byte("change "+strconv.Itoa(n)))
				default:
					delete(here[i], s)
					writer.Delete(topic, s)
				}
				<-tick.C
			}
		})
	}
	var views []*recorder
	var at []int // topic of the view; -1: the pattern
	rounds := 40 * effort(t)
	for round := range rounds {
		for _, w := range watchers {
			for i, topic := range topics {
				r := w.watch(topic)
				if round%4 != 0 {
					r.watch.Stop()
					continue
				}
				views, at = append(views, r), append(at, i)
			}
			if round%8 == 0 {
				views, at = append(views, w.watch(room("chat/*"))), append(at, -1)
			}
		}
	}
	cancel()
	churn.Wait()
	writer.flushed()
	for n, r := range views {
		var want []protocol.SessionID
		for i := range topics {
			if at[n] == i || at[n] < 0 {
				for s := range here[i] {
					want = append(want, s)
				}
			}
		}
		r.sees(want...)
	}
	t.Logf("%d views in %d rounds", len(views), rounds)
}

// effort multiplies what the slow tests do.
func effort(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("PRESENCE_EFFORT"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// An election must neither hide anybody nor lose a join or leave.
func TestElectionsHideNobody(t *testing.T) {
	c := natstest.NewCluster(t, 3)
	a, b := start(t, "aa", c.URLs(), three), start(t, "bb", c.URLs(), three)
	topic := room("room1")
	shard := shardOf(topic, 2)
	sa := a.fill(topic, 50)
	r := b.watch(topic)
	r.sees(sa...)
	for round, name := range []string{stream(shard), leaseStream, stream(shard)} {
		gone := c.WaitLeader(t, name)
		gone.Stop()
		s := a.session()
		a.Put(topic, s, []byte("in the election"))
		a.Delete(topic, sa[round])
		sa[round] = s
		r.sees(sa...)
		gone.Start(t)
	}
	if n := r.count(Leave); n != 3 {
		t.Errorf("%d leaves, want 3", n)
	}
	for _, n := range []*node{a, b} {
		if lost := testutil.ToFloat64(n.metrics.lost); lost != 0 {
			t.Errorf("lease lost %v times", lost)
		}
		if hidden := testutil.ToFloat64(n.metrics.hidden); hidden != 0 {
			t.Errorf("%v gateways hidden", hidden)
		}
	}
}

// Without a majority nothing can be stored or proved. Watch gives what there is, and everything is right when the
// majority is back.
func TestWithoutAMajority(t *testing.T) {
	c := natstest.NewCluster(t, 3)
	a, b := start(t, "aa", c.URLs()[:1], three), start(t, "bb", c.URLs()[:1], three)
	topic := room("room1")
	sa := a.fill(topic, 30)
	r := b.watch(topic)
	r.sees(sa...)
	c.Nodes[1].Stop()
	c.Nodes[2].Stop()
	s := a.session()
	a.Put(topic, s, []byte("not stored yet"))
	a.Delete(topic, sa[0])
	second := b.watch(topic) // by what the one replica has
	if n := len(second.list()); n < len(sa)-1 {
		t.Errorf("%d members without a majority, want about %d", n, len(sa))
	}
	if n := r.count(Leave); n != 0 {
		t.Errorf("%d leaves", n)
	}
	c.Nodes[1].Start(t)
	c.Nodes[2].Start(t)
	want := append(sa[1:], s)
	r.sees(want...)
	second.sees(want...)
	b.watch(topic).sees(want...)
	if n := r.count(Leave); n != 1 {
		t.Errorf("%d leaves, want 1", n)
	}
}

// Gateways come, go and crash, sessions join, change and leave, the broker changes leaders; in the end every view
// is what the living gateways say.
func TestConvergence(t *testing.T) {
	c := natstest.NewCluster(t, 3)
	quicker := func(o *Options) { three(o); o.Lease, o.Refresh = 8*time.Second, 500*time.Millisecond }
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	topics := []protocol.Topic{room("chat/a"), room("chat/b"), room("chat/c/d"), room("chat/e")}
	truth := map[*node][]memberKey{}
	var living []*node
	add := func() {
		n := start(t, string(rune('a'+len(truth)))+"x", []string{c.Nodes[rnd.IntN(3)].URL()}, quicker)
		living = append(living, n)
		truth[n] = nil
	}
	for range 3 {
		add()
	}
	type looking struct {
		*recorder
		n     *node
		topic protocol.Topic
	}
	var views []looking
	for _, n := range living {
		for _, topic := range append(topics[:2:2], room("chat/*")) {
			views = append(views, looking{n.watch(topic), n, topic})
		}
	}
	steps := 1500 * effort(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for step := range steps {
		n := living[rnd.IntN(len(living))]
		mine := truth[n]
		switch x := rnd.IntN(100); {
		case x < 55:
			k := memberKey{topics[rnd.IntN(len(topics))], n.session()}
			truth[n] = append(mine, k)
			n.Put(k.topic, k.session, []byte("join"))
		case len(mine) == 0:
		case x < 70:
			k := mine[rnd.IntN(len(mine))]
			n.Put(k.topic, k.session, []byte(strconv.Itoa(step)))
		default:
			i := rnd.IntN(len(mine))
			n.Delete(mine[i].topic, mine[i].session)
			truth[n] = slices.Delete(mine, i, i+1)
		}
		switch step {
		case steps / 4:
			living[0].kill() // a crash
			living = living[1:]
			add()
		case steps / 2:
			c.WaitLeader(t, stream(0)).Stop()
		case steps * 3 / 4:
			living[0].link.cut()
		}
		<-tick.C
	}
	for _, n := range c.Nodes {
		if n.Server() == nil {
			n.Start(t)
		}
	}
	for _, n := range living {
		n.link.heal()
	}
	for _, n := range living {
		n.flushed()
	}
	checked := 0
	for _, v := range views {
		if v.n.nc.IsClosed() {
			continue
		}
		checked++
		var want []protocol.SessionID
		for _, n := range living {
			for _, k := range truth[n] {
				if n != v.n && (v.topic == k.topic || v.topic.Channel.Covers(k.topic.Channel)) {
					want = append(want, k.session)
				}
			}
		}
		v.sees(want...)
	}
	natstest.Eventually(t, "no ghosts in the bucket", func() bool {
		all := 0
		for _, n := range living {
			all += len(truth[n])
		}
		return len(living[0].stored()) == all
	})
	t.Logf("%d views of %d gateways, %d gateways in all", checked, len(living), len(truth))
}
