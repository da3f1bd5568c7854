package history

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

func want(t *testing.T, what string, got []string, more bool, wanted []string, wantMore bool) {
	t.Helper()
	if !slices.Equal(got, wanted) || more != wantMore {
		t.Errorf("%s: got %v more=%t, want %v more=%t", what, got, more, wanted, wantMore)
	}
}

// TestPages: limit alone, before, after, since, windows and bounds on a channel whose messages are mixed with
// those of others in the same stream.
func TestPages(t *testing.T) {
	s := single(t)
	const n = 400
	offsets := make([]uint64, n+1)
	var half time.Time
	for i := 1; i <= n; i++ {
		if i == n/2+1 {
			page, err := s.store.Read(t.Context(), s.topic("room"), Range{Limit: 1})
			if err != nil || len(page.Publications) != 1 {
				t.Fatal(page, err)
			}
			half = time.Now()
		}
		offsets[i] = s.put("room", fmt.Sprint(i))
		s.put(protocol.Channel(fmt.Sprintf("other%d", i%20)), "x")
	}
	for _, c := range []struct {
		what     string
		r        Range
		from, to int
		more     bool
	}{
		{"the latest", Range{Limit: 10}, 391, 400, true},
		{"the latest of all", Range{}, 1, 400, false},
		{"exactly all", Range{Limit: 400}, 1, 400, false},
		{"all but one", Range{Limit: 399}, 2, 400, true},
		{"before", Range{Limit: 5, Before: offsets[100]}, 95, 99, true},
		{"before, at the beginning", Range{Limit: 5, Before: offsets[6]}, 1, 5, false},
		{"before, fewer than asked", Range{Limit: 5, Before: offsets[4]}, 1, 3, false},
		{"before the first", Range{Limit: 5, Before: offsets[1]}, 1, 0, false},
		{"before everything", Range{Limit: 5, HasBefore: true}, 1, 0, false},
		{"before a shard's first sequence", Range{Limit: 5, Before: subject.Shards - 1}, 1, 0, false},
		{"before the future", Range{Limit: 5, Before: offsets[400] + 1<<20}, 396, 400, true},
		{"after", Range{Limit: 5, After: offsets[100]}, 101, 105, true},
		{"after, at the end", Range{Limit: 5, After: offsets[395]}, 396, 400, false},
		{"after the last", Range{Limit: 5, After: offsets[400]}, 1, 0, false},
		{"after nothing", Range{Limit: 5, HasAfter: true}, 1, 5, true},
		{"after, many pages", Range{Limit: 300, After: offsets[50]}, 51, 350, true},
		{"between", Range{After: offsets[10], Before: offsets[14]}, 11, 13, false},
		{"since", Range{Limit: 3, Since: half}, 201, 203, true},
		{"since, to the end", Range{Limit: 300, Since: half}, 201, 400, false},
		{"since, and after an offset before that", Range{Limit: 3, Since: half, After: offsets[100]}, 201, 203, true},
		{"since, and after an offset behind that", Range{Limit: 3, Since: half, After: offsets[300]}, 301, 303, true},
		{"since the future", Range{Since: time.Now().Add(time.Hour)}, 1, 0, false},
		{"up to", Range{Limit: 3, UpTo: offsets[50]}, 48, 50, true},
		{"window", Range{Limit: 100, Window: 25}, 376, 400, false},
		{"window and limit", Range{Limit: 10, Window: 25}, 391, 400, true},
		{"window and before", Range{Limit: 10, Window: 25, Before: offsets[380]}, 376, 379, false},
		{"window and before beyond it", Range{Limit: 10, Window: 25, Before: offsets[300]}, 1, 0, false},
		{"window and after beyond it", Range{Limit: 10, Window: 25, After: offsets[300]}, 376, 385, true},
		{"window larger than the channel", Range{Limit: 500, Window: 1000}, 1, 400, false},
	} {
		got, more := s.read("room", c.r)
		want(t, c.what, got, more, numbers(c.from, c.to), c.more)
	}
	got, more := s.read("empty", Range{Limit: 3})
	want(t, "empty channel", got, more, nil, false)
	if _, err := s.store.Read(t.Context(), s.topic("room"), Range{Limit: -5}); !errors.Is(err, ErrRange) {
		t.Errorf("limit -5: %v", err)
	}
}

// TestVisibility: what the reader may not see counts for nothing.
func TestVisibility(t *testing.T) {
	s := single(t)
	authenticated := func(p *protocol.Publication, _ *nats.Msg) { p.Audience.Kind = protocol.Authenticated }
	for i := 1; i <= 100; i++ {
		if i%10 == 1 {
			s.put("room", fmt.Sprint((i+9)/10))
		} else {
			s.put("room", "secret", authenticated)
		}
	}
	got, more := s.read("room", Range{Limit: 3})
	want(t, "anonymous, latest", got, more, numbers(8, 10), true)
	got, more = s.read("room", Range{Limit: 10})
	want(t, "anonymous, all", got, more, numbers(1, 10), false)
	got, more = s.read("room", Range{Limit: 4, HasAfter: true})
	want(t, "anonymous, forward", got, more, numbers(1, 4), true)
	if got, _ := s.read("room", Range{Authenticated: true}); len(got) != 100 {
		t.Errorf("authenticated: %d of 100", len(got))
	}
	// A body that is no envelope is skipped.
	if _, err := s.store.js.Publish(t.Context(), subject.Stored(1, "room"), []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	got, more = s.read("room", Range{Limit: 2})
	want(t, "beside rubbish", got, more, numbers(9, 10), true)
}

// TestAimedApart: what is for one user or one socket comes besides what the limit counts, whichever way a page goes.
func TestAimedApart(t *testing.T) {
	s := single(t)
	aimed := func(p *protocol.Publication, _ *nats.Msg) {
		p.Audience = protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "1"}
	}
	var last uint64
	for i := 1; i <= 10; i++ {
		s.put("q/a", fmt.Sprint(i))
	}
	for range 50 {
		s.put("q/a", "x", aimed)
	}
	last = s.put("q/a", "11")
	for _, c := range []protocol.Channel{"q/a", "q/*"} {
		for _, q := range []struct {
			r     Range
			aimed int
			want  []string
			more  bool
		}{
			{Range{Limit: 5, Before: last}, 50, numbers(6, 10), true},
			{Range{Limit: 10, Before: last}, 50, numbers(1, 10), false},
			{Range{Limit: 1}, 50, numbers(11, 11), true},
			{Range{Limit: 2}, 50, numbers(10, 11), true},
			{Range{Limit: 10, HasAfter: true}, 50, numbers(1, 10), true},
			{Range{Limit: 15, HasAfter: true}, 50, numbers(1, 11), false},
			{Range{Limit: 3, HasAfter: true}, 0, numbers(1, 3), true},
		} {
			q.r.AimedApart = true
			got, more := s.read(c, q.r)
			public := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return id == "x" })
			want(t, fmt.Sprintf("%s %+v", c, q.r), public, more, q.want, q.more)
			if n := len(got) - len(public); n != q.aimed {
				t.Errorf("%s %+v: %d aimed, want %d", c, q.r, n, q.aimed)
			}
		}
	}
	got, more := s.read("q/a", Range{Limit: 5, Before: last})
	want(t, "without it they count", got, more, []string{"x", "x", "x", "x", "x"}, true)
}

// TestNotBefore: what is over its age is in no page, whichever way it goes, and no resume passes over it.
func TestNotBefore(t *testing.T) {
	s := single(t)
	var half time.Time
	var offsets [11]uint64
	for i := 1; i <= 10; i++ {
		if i == 6 {
			half = time.Now()
		}
		offsets[i] = s.put("q/a", fmt.Sprint(i))
	}
	for _, c := range []protocol.Channel{"q/a", "q/*"} {
		for _, q := range []struct {
			r        Range
			from, to int
			more     bool
		}{
			{Range{Limit: 3}, 8, 10, true},
			{Range{Limit: 5}, 6, 10, false},
			{Range{}, 6, 10, false},
			{Range{Limit: 5, Before: offsets[8]}, 6, 7, false},
			{Range{Limit: 5, Before: offsets[5]}, 1, 0, false},
			{Range{Limit: 2, HasAfter: true}, 6, 7, true},
			{Range{Limit: 9, After: offsets[2]}, 6, 10, false},
			{Range{Limit: 9, Since: half.Add(-time.Hour)}, 6, 10, false},
			{Range{Limit: 9, Since: time.Now().Add(time.Hour)}, 1, 0, false},
		} {
			q.r.NotBefore = half
			got, more := s.read(c, q.r)
			want(t, fmt.Sprintf("%s %+v", c, q.r), got, more, numbers(q.from, q.to), q.more)
		}
	}
	resume := func(c protocol.Channel, what string, from, upTo int, whole bool) {
		t.Helper()
		pubs, ok, err := s.store.ResumeWithin(t.Context(), s.topic(c), protocol.Position{Offset: offsets[from]}, offsets[upTo], 100, half)
		wanted := numbers(from+1, upTo)
		if !whole {
			wanted = numbers(1, 0)
		}
		if err != nil || ok != whole || !slices.Equal(ids(pubs), wanted) {
			t.Errorf("%s, resume %s: %v %t %v", c, what, ids(pubs), ok, err)
		}
	}
	resume("q/a", "from a young one", 7, 10, true)
	resume("q/a", "from an old one with old ones behind it", 3, 10, false)
	resume("q/a", "from an old one, of a stream that never lost one", 5, 10, true)

	offsets[1] = s.put("room", "1")
	half = time.Now()
	offsets[2] = s.put("room", "2", func(_ *protocol.Publication, m *nats.Msg) { m.Header.Set("Nats-TTL", "1s") })
	natstest.Eventually(t, "expiry", func() bool {
		got, _ := s.read("room", Range{})
		return len(got) == 1
	})
	offsets[3] = s.put("room", "3")
	resume("room", "over one that is gone", 1, 3, false)
	resume("room", "from an old one that was the newest", 1, 1, false)
	resume("room", "from one that is gone", 2, 3, true)
	resume("room", "from a young one", 3, 3, true)
}

// TestPattern: merged over shards by time, paged in both directions without a double or a hole.
func TestPattern(t *testing.T) {
	s := single(t)
	const n = 200
	offsets := make([]uint64, n+1)
	shards := map[int]bool{}
	for i := 1; i <= n; i++ {
		c := protocol.Channel(fmt.Sprintf("chat/%d/x", i%17))
		shards[subject.Shard(1, c)] = true
		offsets[i] = s.put(c, fmt.Sprint(i))
		s.put(protocol.Channel(fmt.Sprintf("chatter/%d", i%5)), "x")
	}
	s.put("chat", "base")
	s.put("chat/", "empty segment")
	if len(shards) < 4 {
		t.Fatalf("only %d shards are in the test", len(shards))
	}
	got, more := s.read("chat/*", Range{Limit: 10})
	want(t, "latest", got, more, numbers(191, 200), true)
	got, more = s.read("chat/*", Range{})
	want(t, "all", got, more, numbers(1, 200), false)
	got, more = s.read("chat/*", Range{Limit: 20, After: offsets[30], Before: offsets[41]})
	want(t, "between", got, more, numbers(31, 40), false)
	got, more = s.read("chat/*", Range{Limit: 5, UpTo: offsets[77]})
	want(t, "up to", got, more, numbers(73, 77), true)
	var back []string
	for before := uint64(0); ; {
		page, err := s.store.Read(t.Context(), s.topic("chat/*"), Range{Limit: 7, Before: before})
		if err != nil {
			t.Fatal(err)
		}
		back = append(ids(page.Publications), back...)
		if !page.More {
			break
		}
		before = page.Publications[0].Offset
	}
	want(t, "page by page backward", back, false, numbers(1, 200), false)
	var forth []string
	for r := (Range{Limit: 9, HasAfter: true}); ; {
		page, err := s.store.Read(t.Context(), s.topic("chat/*"), r)
		if err != nil {
			t.Fatal(err)
		}
		forth = append(forth, ids(page.Publications)...)
		if !page.More {
			break
		}
		r.After = page.Publications[len(page.Publications)-1].Offset
	}
	want(t, "page by page forward", forth, false, numbers(1, 200), false)
	allowed := func(c protocol.Channel) bool { return c == "chat/3/x" }
	got, _ = s.read("chat/*", Range{Allow: allowed})
	if len(got) != 12 || got[0] != "3" {
		t.Errorf("allowed channels only: %v", got)
	}
}

// TestPatternBetweenOthers: however many messages of other rules stand between those of a pattern in one shard, nothing
// is passed over, in either direction.
func TestPatternBetweenOthers(t *testing.T) {
	s := single(t)
	const own protocol.Channel = "chat/own"
	var others []protocol.Channel
	for i := 0; len(others) < 6; i++ {
		if c := protocol.Channel(fmt.Sprint("chat/loud/", i)); subject.Shard(s.serve, c) == subject.Shard(s.serve, own) {
			others = append(others, c)
		}
	}
	id := 0
	put := func(c protocol.Channel) { id++; s.put(c, fmt.Sprint(id)) }
	loud := func() {
		for range 850 {
			for _, c := range others {
				s.put(c, "loud")
			}
		}
	}
	put(own)
	put("chat/elsewhere")
	put(own)
	loud()
	put("chat/elsewhere")
	put(own)
	allow := func(c protocol.Channel) bool { return !slices.Contains(others, c) }
	got, more := s.read("chat/*", Range{Limit: 3, Allow: allow})
	want(t, "latest", got, more, numbers(3, 5), true)
	got, more = s.read("chat/*", Range{Limit: 5, Allow: allow})
	want(t, "all", got, more, numbers(1, 5), false)
	got, more = s.read("chat/*", Range{Limit: 4, HasAfter: true, Allow: allow})
	want(t, "oldest", got, more, numbers(1, 4), true)
	got, more = s.read("chat/*", Range{Limit: 9, HasAfter: true, Allow: allow})
	want(t, "all from the oldest on", got, more, numbers(1, 5), false)
}

// TestByteBound: an answer is bounded in bytes too, and says that there is more.
func TestByteBound(t *testing.T) {
	s := single(t)
	big := make([]byte, 500<<10)
	for i := 1; i <= 40; i++ {
		s.put("room", fmt.Sprint(i), func(p *protocol.Publication, _ *nats.Msg) { p.Frame = big })
	}
	got, more := s.read("room", Range{Limit: 40})
	if !more || len(got) == 0 || len(got) > 34 || got[len(got)-1] != "40" {
		t.Errorf("backward: %v more=%t", got, more)
	}
	got, more = s.read("room", Range{Limit: 40, HasAfter: true})
	if !more || len(got) == 0 || len(got) > 34 || got[0] != "1" {
		t.Errorf("forward: %v more=%t", got, more)
	}
}

// TestPurgeAndTrim removes what is asked for and nothing else.
func TestPurgeAndTrim(t *testing.T) {
	s := single(t)
	for i := 1; i <= 30; i++ {
		s.put("room", fmt.Sprint(i))
		s.put("chat/a", fmt.Sprint(i))
		s.put("chat/b/c", fmt.Sprint(i))
		s.put("chat", fmt.Sprint(i))
	}
	if err := s.store.Trim(t.Context(), 1, "room", 10); err != nil {
		t.Fatal(err)
	}
	got, more := s.read("room", Range{})
	want(t, "trimmed", got, more, numbers(21, 30), false)
	s.purge("chat/*")
	for c, n := range map[protocol.Channel]int{"chat/a": 0, "chat/b/c": 0, "chat": 30, "room": 10} {
		if got, _ := s.read(c, Range{}); len(got) != n {
			t.Errorf("%s has %d, want %d", c, len(got), n)
		}
	}
	s.purge("room")
	if got, _ := s.read("room", Range{}); len(got) != 0 {
		t.Errorf("purged: %v", got)
	}
	if err := s.store.PurgeServer(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.read("chat", Range{}); len(got) != 0 {
		t.Errorf("purged with its server: %v", got)
	}
}
