package presence

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/protocol"
)

// A channel of 20 000: written in a storm, watched while it comes, read in pages, paged over HTTP, and gone when
// its gateway is.
func TestTwentyThousandMembers(t *testing.T) {
	const count = 20_000
	urls := single(t)
	slow := func(o *Options) {
		o.Lease, o.Refresh, o.Suspect, o.Redo = 10*time.Second, time.Second, time.Second, 5*time.Second
	}
	a, b, c := start(t, "aa", urls, slow), start(t, "bb", urls, slow), start(t, "cc", urls, slow)
	topic := room("big/room")
	early := b.watch(topic)
	all := make([]protocol.SessionID, count)
	value := make(map[protocol.SessionID]string, count)
	begun := time.Now()
	for i := range all {
		all[i] = protocol.SessionID(fmt.Sprintf("%s%016x", a.o.Node, i))
		v := entryOf(all[i], 7, i+1, "some data of a user that is neither short nor long")
		value[all[i]] = string(v)
		a.Put(topic, all[i], v)
	}
	put := time.Since(begun)
	a.flushed()
	t.Logf("%d joins: Put %s, all stored after %s", count, put, time.Since(begun))
	early.sees(all...)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun = time.Now()
	late := c.watch(topic) // more than one answer holds: in pages
	t.Logf("Watch of %d members: %s", count, time.Since(begun))
	if n := len(late.list()); n != count {
		t.Fatalf("%d members", n)
	}
	for id, v := range late.list() {
		if v != value[id.session] {
			t.Fatalf("value of %s: %s", id.session, v)
		}
	}
	below := c.watch(room("big/*"))
	if n := len(below.list()); n != count {
		t.Fatalf("%d members below the pattern", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("two views: %d MiB", (after.HeapAlloc-before.HeapAlloc)>>20)

	seen := make(map[protocol.SessionID]bool)
	pages := 0
	for after := ""; ; pages++ {
		p, err := c.Snapshot(t.Context(), topic, 700, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.Members {
			if seen[m.Session] || string(m.Value) != value[m.Session] {
				t.Fatalf("member %s twice or wrong", m.Session)
			}
			seen[m.Session] = true
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if len(seen) != count {
		t.Fatalf("%d members in %d pages", len(seen), pages)
	}

	// A regular comparison of a large view finds nothing to tell.
	begun = time.Now()
	c.posts.add(func(l *loop) {
		for _, v := range l.order {
			l.redo(v, regular)
		}
	})
	eventually(t, 50*time.Millisecond, func() (done bool) {
		_ = c.do(t.Context(), func(l *loop) {
			done = !slices.ContainsFunc(l.order, func(v *view) bool { return v.proved.Before(begun) })
		})
		return done
	}, func() string { return "both views to be compared" })
	if n := testutil.ToFloat64(c.metrics.corrected) + float64(late.count(Leave)+late.count(Update)); n != 0 {
		t.Errorf("%v corrections", n)
	}
	begun = time.Now()
	a.kill()
	late.sees()
	t.Logf("all hidden after %s", time.Since(begun))
	below.sees()
	early.sees()
	eventually(t, 500*time.Millisecond, func() bool { return len(c.stored()) == 0 }, func() string { return "the bucket to be empty" })
}

// Leaves that nobody told (the republishing leader died) are found by comparing, in a large channel too.
func TestComparisonOfALargeViewFindsWhatWasMissed(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	sa := a.fill(topic, 3000)
	r := b.watch(topic)
	r.sees(sa...)
	// Purges are silent, as lost messages are.
	prefix := bucketPrefix(0) + head(topic) + a.current() + "."
	for _, s := range sa[:5] {
		if _, err := b.purgeFilter(t.Context(), stream(0), prefix+string(s)); err != nil {
			t.Fatal(err)
		}
	}
	r.sees(sa[5:]...)
	if n := testutil.ToFloat64(b.metrics.corrected); n != 5 {
		t.Errorf("%v corrections", n)
	}
}
