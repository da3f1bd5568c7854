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

func TestJoinUpdateLeaveReachTheOtherGateway(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("chat/sports")
	s1, s2, s3 := a.session(), a.session(), a.session()
	a.Put(topic, s1, entryOf(s1, 0, 0, "here first"))
	a.flushed()

	r := b.watch(topic)
	if got := r.list(); len(got) != 1 {
		t.Fatalf("Watch returned before the snapshot was handed out: %v", got)
	}
	a.Put(topic, s2, entryOf(s2, 0, 0, "joins"))
	r.sees(s1, s2)
	a.Put(topic, s2, entryOf(s2, 0, 0, "changes"))
	natstest.Eventually(t, "the update", func() bool { return r.count(Update) == 1 })
	if got := r.list()[memberID{topic.Channel, s2}]; got != string(entryOf(s2, 0, 0, "changes")) {
		t.Fatalf("value %s", got)
	}
	a.Delete(topic, s1)
	r.sees(s2)
	own := b.session()
	b.Put(topic, own, entryOf(own, 0, 0, "own"))
	a.Put(topic, s3, entryOf(s3, 0, 0, "last"))
	r.sees(s2, s3) // and not our own
	if got, want := r.kinds(), []string{"join", "join", "update", "leave", "join"}; !slices.Equal(got, want) {
		t.Fatalf("changes %v, want %v", got, want)
	}
	r.watch.Stop()
	a.Delete(topic, s2)
	a.flushed()
	if r.count(Leave) != 1 {
		t.Fatal("a change was told after Stop")
	}
}

func TestNamesThatLookAlikeStayApart(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	names := []string{"a", "a.b", "a/b", "a b", "A/b", "a*", "*", ">", "a/>", "a/*/b", "a/", "/a", "a//b", "日本", "=", "a=b", "a/=/b", "chat", "chat/x"}
	watches := map[string]*recorder{}
	for _, n := range names {
		watches[n] = b.watch(room(n))
	}
	other := b.watch(protocol.Topic{Server: 2, Channel: "a"})
	sessions := map[string]protocol.SessionID{}
	for _, n := range names {
		sessions[n] = a.session()
		a.Put(room(n), sessions[n], []byte(n))
	}
	for _, n := range names {
		watches[n].sees(sessions[n])
		for id, v := range watches[n].list() {
			if string(id.channel) != n || v != n {
				t.Errorf("watch of %q got %q in %q", n, v, id.channel)
			}
		}
	}
	other.sees()
}

func TestPatternSeesEverythingBelowItInAllShards(t *testing.T) {
	urls := single(t)
	four := func(o *Options) { o.Shards = 4 }
	a, b := start(t, "aa", urls, four), start(t, "bb", urls, four)
	var before, all []protocol.SessionID
	put := func(name string) protocol.SessionID {
		s := a.session()
		a.Put(room(name), s, []byte(name))
		return s
	}
	for _, n := range []string{"chat/a", "chat/b", "chat/c/d", "chat/e"} {
		before = append(before, put(n))
	}
	put("chat")
	put("other/a")
	a.flushed()
	r := b.watch(room("chat/*"))
	r.sees(before...)
	all = append(all, before...)
	put("chat")
	put("chatter/a")
	for _, n := range []string{"chat/f", "chat/g/h/i", "chat/j", "chat/日本"} {
		all = append(all, put(n))
	}
	r.sees(all...)
	for id, v := range r.list() {
		if string(id.channel) != v {
			t.Errorf("channel %q, value %q", id.channel, v)
		}
	}
}

func TestNodesAndReady(t *testing.T) {
	urls := single(t)
	a := start(t, "aa", urls)
	if n := a.Nodes(); len(n) != 1 || n[0].ID != a.o.Node || n[0].Addr != "aa" || n[0].State != Alive {
		t.Fatalf("alone: %+v", n)
	}
	b := start(t, "bb", urls)
	for _, x := range []*node{a, b} {
		natstest.Eventually(t, "both gateways", func() bool { return len(x.Nodes()) == 2 })
	}
	if n := a.Nodes()[1]; n.ID != b.o.Node || n.Addr != "bb" || n.Started.UnixMilli() != b.started.UnixMilli() {
		t.Fatalf("%+v", n)
	}
}

func TestTwoGatewaysEnsureAtOnce(t *testing.T) {
	urls := single(t)
	errs := make(chan error, 8)
	for range cap(errs) {
		n := prepare(t, "aa", urls, func(o *Options) { o.Shards = 2 })
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			errs <- n.Ensure(ctx)
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestSoloRemovesWhatAnEarlierRunLeft(t *testing.T) {
	urls := single(t)
	a := start(t, "aa", urls)
	s := a.session()
	a.Put(room("room1"), s, []byte("ghost"))
	a.flushed()
	a.kill()
	b := start(t, "bb", urls, func(o *Options) { o.Solo = true })
	if n := b.Nodes(); len(n) != 1 {
		t.Fatalf("nodes %+v", n)
	}
	p, err := b.Snapshot(t.Context(), room("room1"), 0, "")
	if err != nil || len(p.Members) != 0 {
		t.Fatalf("members %v, err %v", p.Members, err)
	}
	b.watch(room("room1")).sees()
}

func TestCallsEndWithTheDirectory(t *testing.T) {
	urls := single(t)
	n := prepare(t, "aa", urls)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Watch(ctx, room("a"), &recorder{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Watch before Run: %v", err)
	}
	n.run()
	n.ready()
	n.kill()
	if _, err := n.Watch(t.Context(), room("a"), &recorder{}); !errors.Is(err, ErrStopped) {
		t.Fatalf("Watch after Run: %v", err)
	}
	if _, err := n.Snapshot(t.Context(), room("a"), 0, ""); !errors.Is(err, ErrStopped) {
		t.Fatalf("Snapshot after Run: %v", err)
	}
	if err := n.Drain(t.Context(), 0); !errors.Is(err, ErrStopped) {
		t.Fatalf("Drain after Run: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	nc, _ := connect(t, single(t)...)
	for name, o := range map[string]Options{
		"no connection": {Node: "abcdefgh"},
		"no node":       {Conn: nc},
		"bad node":      {Conn: nc, Node: "abc.efgh"},
		"short lease":   {Conn: nc, Node: "abcdefgh", Lease: time.Millisecond},
		"slow refresh":  {Conn: nc, Node: "abcdefgh", Refresh: 15 * time.Second},
		"odd shards":    {Conn: nc, Node: "abcdefgh", Shards: 3},
		"quick suspect": {Conn: nc, Node: "abcdefgh", Suspect: time.Second},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := New(Options{Conn: nc, Node: "abcdefgh"}); err != nil {
		t.Error(err)
	}
}
