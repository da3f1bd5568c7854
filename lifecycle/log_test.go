package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

const (
	sid1 = "n0000001" + "0000000000000001"
	sid2 = "n0000001" + "0000000000000002"
)

func single(t *testing.T, change func(*Options)) *world {
	return newWorld(t, []string{natstest.Single(t).URL()}, 1, change)
}

// TestZombie: a gateway that was taken for dead, and is not, finds out and tells who is there.
func TestZombie(t *testing.T) {
	w := single(t, nil)
	g, other := w.start("n0000001"), w.start("n0000000")
	g.Connected(1, sid1, ann)
	g.Joined(1, "a", sid1, ann)
	p := newPicture(t)
	p.settles(other.Log, 1, map[string]bool{member(sid1, "a"): true})
	w.lease(g.id, false)
	p.settles(other.Log, 1, map[string]bool{})
	if p.reasons[ReasonGatewayLost] != 1 {
		t.Errorf("reasons %v", p.reasons)
	}
	w.lease(g.id, true)
	g.Connected(1, sid2, ann)
	g.Joined(1, "b", sid2, ann)
	truth := map[string]bool{member(sid1, "a"): true, member(sid2, "b"): true}
	p.settles(other.Log, 1, truth)
	if p.lost != 1 {
		t.Errorf("%d lost events, want 1", p.lost)
	}
	// And when it dies at last, it is ended again.
	g.kill()
	p.settles(other.Log, 1, map[string]bool{})
	newPicture(t).settles(other.Log, 1, map[string]bool{})
}

// TestTwoKeepers: leaves of a lost gateway stand there once however many keepers there are.
func TestTwoKeepers(t *testing.T) {
	w := single(t, func(o *Options) { o.Keeper = func() bool { return true } })
	g := w.start("n0000001")
	var others []*gate
	for _, id := range []string{"n0000002", "n0000003", "n0000004"} {
		others = append(others, w.start(id))
	}
	g.Connected(1, sid1, ann)
	g.Joined(1, "a", sid1, ann)
	p := newPicture(t)
	p.settles(others[0].Log, 1, map[string]bool{member(sid1, "a"): true})
	g.kill()
	p.settles(others[0].Log, 1, map[string]bool{})
	if p.reasons[ReasonGatewayLost] != 1 {
		t.Errorf("reasons %v", p.reasons)
	}
}

// TestBound: beyond the bound events are given up, counted and said; the picture is right all the same.
func TestBound(t *testing.T) {
	server := natstest.Single(t)
	w := newWorld(t, []string{server.URL()}, 1, func(o *Options) { o.Queue = 50 })
	g := w.start("n0000001")
	g.Connected(1, sid1, ann)
	p := newPicture(t)
	natstest.Eventually(t, "the connect", func() bool { return p.read(g.Log, 1, 10) == nil && p.sockets[sid1] })
	server.Stop()
	for range 100 {
		g.Joined(1, "a", sid1, ann)
		g.Left(1, "a", sid1, ReasonLeft)
	}
	g.Joined(1, "b", sid1, ann)
	server.Start(t)
	p.settles(g.Log, 1, map[string]bool{member(sid1, "b"): true})
	if p.lost == 0 {
		t.Error("nothing was said of the lost events")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queued != 0 {
		t.Errorf("%d events are queued", g.queued)
	}
}

// TestRepeat: who begins to read when the first events have been removed finds everybody all the same.
func TestRepeat(t *testing.T) {
	w := single(t, func(o *Options) { o.Retention = time.Second })
	g := w.start("n0000001")
	g.Connected(1, sid1, ann)
	g.Joined(1, "a", sid1, ann)
	truth := map[string]bool{member(sid1, "a"): true}
	old := newPicture(t)
	old.settles(g.Log, 1, truth)
	natstest.Eventually(t, "the first events to be removed", func() bool {
		s, err := g.info(t.Context(), "")
		return err == nil && s.FirstSeq > 3
	})
	p := newPicture(t)
	p.settles(g.Log, 1, truth)
	if !p.sockets[sid1] {
		t.Error("the socket is missing")
	}
	old.cursor = "1-0"
	if err := old.read(g.Log, 1, 10); !errors.Is(err, ErrCursorExpired) {
		t.Errorf("an old cursor: %v", err)
	}
	if _, _, err := g.Read(t.Context(), 1, "x", 1, false); !errors.Is(err, ErrCursor) {
		t.Errorf("a wrong cursor: %v", err)
	}
}

// TestReadWaits: a reader that waits is woken by what comes, and by the end of its time.
func TestReadWaits(t *testing.T) {
	w := single(t, nil)
	g := w.start("n0000001")
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second) // which may end while it looks again
	defer cancel()
	if entries, next, err := g.Read(short, 1, "", 10, true); err != nil || len(entries) > 0 || next != "" {
		t.Fatalf("%v %q %v", entries, next, err)
	}
	// That nothing could be looked at is not the same as that there was nothing.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if entries, _, err := g.Read(ended, 1, "", 10, true); err == nil {
		t.Fatalf("%v without a look", entries)
	}
	got := make(chan []Entry, 1)
	go func() {
		entries, _, err := g.Read(t.Context(), 1, "", 10, true)
		if err != nil {
			t.Error(err)
		}
		got <- entries
	}()
	g.Connected(2, sid2, ann) // of another server
	g.Connected(1, sid1, ann)
	if entries := <-got; len(entries) != 1 || entries[0].Session != sid1 || !json.Valid(entries[0].Client) {
		t.Errorf("%+v", entries)
	}
}

// TestStop: a gateway that ends in order writes what is queued and leaves nothing for the keeper.
func TestStop(t *testing.T) {
	w := single(t, nil)
	other, g := w.start("n0000000"), w.start("n0000001")
	g.Connected(1, sid1, ann)
	g.Joined(1, "a", sid1, ann)
	g.Disconnected(1, sid1, ReasonTimeout)
	g.stop()
	p := newPicture(t)
	p.settles(other.Log, 1, map[string]bool{})
	if p.reasons[ReasonTimeout] != 1 || len(p.reasons) != 1 {
		t.Errorf("reasons %v", p.reasons)
	}
	last, found, err := other.last(t.Context(), subjectOf(1, string(g.id)))
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if b, err := decodeBatch(last.body); err != nil || !b.Over || b.By != g.id {
		t.Errorf("the last batch is %+v, %v", b, err)
	}
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "1-0", "0-0", "18446744073709551615-9", "1--1", "01-1", "x", "1-+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := parseCursor(s); err == nil && s != "" && c.String() != s {
			t.Fatalf("%q became %q", s, c)
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(`{"v":1,"by":"n0000001","n":1,"e":[{"t":"join","at":1,"s":"x","c":"a"}]}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		got, err := decodeBatch(b)
		if err != nil {
			return
		}
		fold := newFold()
		fold.live = true
		open := map[protocol.SessionID]*openSession{}
		for i := range got.Events {
			fold.house(1).apply(&got.Events[i], true)
			track(open, &got.Events[i])
		}
		partings(open, time.Now())
	})
}

// BenchmarkRecorder is what a join and a leave cost a gateway.
func BenchmarkRecorder(b *testing.B) {
	m, err := newMetrics(nil, func() float64 { return 0 })
	if err != nil {
		b.Fatal(err)
	}
	r := newRecorder(1<<30, m)
	r.Connected(1, sid1, ann)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Joined(1, "a", sid1, ann)
		r.Left(1, "a", sid1, ReasonLeft)
		if i%1000 == 0 {
			r.take(1)
		}
	}
}
