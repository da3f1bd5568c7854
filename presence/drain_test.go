package presence

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

func (n *node) drain(grace time.Duration) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.Drain(ctx, grace); err != nil {
		n.t.Fatal(err)
	}
}

func TestDrainShowsUsersUntilTheyAreBack(t *testing.T) {
	urls := single(t)
	a, b, c := start(t, "aa", urls), start(t, "bb", urls), start(t, "cc", urls)
	topic := room("room1")
	jo, joTab, ann, anonymous := a.session(), a.session(), a.session(), a.session()
	a.Put(topic, jo, entryOf(jo, 17, 1, ""))
	a.Put(topic, joTab, entryOf(joTab, 17, 1, ""))
	a.Put(topic, ann, entryOf(ann, 17, 2, ""))
	a.Put(topic, anonymous, entryOf(anonymous, 0, 0, ""))
	elsewhere := a.session()
	a.Put(room("room2"), elsewhere, entryOf(elsewhere, 17, 1, ""))
	a.flushed()
	here := []protocol.SessionID{jo, joTab, ann, anonymous}
	rb, rc, other := b.watch(topic), c.watch(topic), c.watch(room("room2"))
	rb.sees(here...)
	rc.sees(here...)

	grace := 6 * time.Second
	begun := time.Now()
	a.Handover(grace)
	natstest.Eventually(t, "the node to be going", func() bool {
		n := c.Nodes()
		return len(n) == 3 && n[1].ID == a.o.Node && n[1].State == Going
	})
	a.Delete(topic, jo) // its socket is closed
	a.drain(grace)
	a.kill()
	late := b.watch(topic) // who comes now sees them too
	late.sees(here...)

	// Jo's first tab comes back on b: its gateway shows it by itself, and the others trade it for an old one.
	back := b.session()
	b.Put(topic, back, entryOf(back, 17, 1, ""))
	rc.sees(joTab, ann, anonymous, back)
	rb.sees(joTab, ann, anonymous)
	late.sees(joTab, ann, anonymous)
	if got, want := rc.kinds()[4:], []string{"join", "leave"}; !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v: nobody may look gone", got, want)
	}
	// A change of an entry that is back is no second coming back.
	b.Put(topic, back, entryOf(back, 17, 1, "typing"))
	natstest.Eventually(t, "the update", func() bool { return rc.count(Update) == 1 })
	rc.sees(joTab, ann, anonymous, back)
	natstest.Eventually(t, "the drained node to be gone", func() bool { return len(c.Nodes()) == 2 })
	if n := other.count(Leave); n != 0 && time.Since(begun) < grace {
		t.Error("an entry on another channel went")
	}

	rc.sees(back) // the others stay away
	if took := time.Since(begun); took < grace-200*time.Millisecond {
		t.Errorf("gone after %s, before the grace was over", took)
	}
	rb.sees()
	late.sees()
	other.sees()
	natstest.Eventually(t, "the bucket to forget them", func() bool { return len(c.stored()) == 1 })
}

func TestDrainWithoutGrace(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa := a.fill(topic, 10)
	r := b.watch(topic)
	r.sees(sa...)
	a.drain(0)
	r.sees()
	natstest.Eventually(t, "the node to be gone", func() bool { return len(b.Nodes()) == 1 })
	a.Put(topic, a.session(), []byte("too late"))
	a.flushed()
	a.drain(0) // a second one changes nothing
	r.sees()
	if n := len(a.roster.members); n != 0 {
		t.Errorf("%d members left", n)
	}
}

func TestDrainThatCannotFinish(t *testing.T) {
	broker := natstest.Single(t)
	a := start(t, "aa", []string{broker.URL()})
	a.fill(room("room1"), 10)
	broker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Drain(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Drain without a broker: %v", err)
	}
	a.kill()
	broker.Start(t)
}

// A rolling restart: every gateway is drained in turn, its users come back on another one. Watchers never see
// one of them missing.
func TestRollingRestartMakesNoStorm(t *testing.T) {
	urls := single(t)
	patient := func(o *Options) { o.Suspect = 3 * time.Second }
	watcher := start(t, "ww", urls, patient)
	topic := room("room1")
	r := watcher.watch(topic)
	const users = 60
	nodes := []*node{start(t, "aa", urls, patient), start(t, "bb", urls, patient), start(t, "cc", urls, patient)}
	type seat struct {
		at *node
		s  protocol.SessionID
	}
	seats := make([]seat, users)
	for i := range seats {
		n := nodes[i%len(nodes)]
		seats[i] = seat{n, n.session()}
		n.Put(topic, seats[i].s, entryOf(seats[i].s, 1, i+1, ""))
	}
	natstest.Eventually(t, "all users", func() bool { return len(r.list()) == users })
	present := func() int {
		there := map[user]bool{}
		for _, v := range r.list() {
			u, _ := userOf([]byte(v))
			there[u] = true
		}
		return len(there)
	}
	for i, name := range []string{"dd", "ee", "ff"} {
		old := nodes[i]
		fresh := start(t, name, urls, patient)
		nodes = append(nodes, fresh)
		old.Handover(10 * time.Second)
		natstest.Eventually(t, "the others to know", func() bool {
			return slices.ContainsFunc(watcher.Nodes(), func(n NodeInfo) bool { return n.ID == old.o.Node && n.State == Going })
		})
		for u := range seats {
			if seats[u].at != old {
				continue
			}
			old.Delete(topic, seats[u].s)
			to := nodes[len(nodes)-1-u%2]
			seats[u] = seat{to, to.session()}
			to.Put(topic, seats[u].s, entryOf(seats[u].s, 1, u+1, ""))
			if n := present(); n != users {
				t.Fatalf("%d of %d users to be seen", n, users)
			}
		}
		old.drain(10 * time.Second)
		old.kill()
		natstest.Eventually(t, "every user to be listed", func() bool { return present() == users })
	}
	begun := time.Now()
	natstest.Eventually(t, "the old entries to have gone", func() bool { return len(r.list()) == users })
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("they went after %s: the grace has ended them", took)
	}
	moves := r.count(Join) - users
	if leaves := r.count(Leave); leaves != moves {
		t.Errorf("%d joins of users that moved, %d leaves", moves, leaves)
	}
	if moves > 3*users {
		t.Errorf("%d moves for %d users", moves, users)
	}
}
