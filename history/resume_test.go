package history

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// TestResume: whole when it can be proved, and only then.
func TestResume(t *testing.T) {
	s := single(t)
	empty := s.position("room") // joined before anything was said
	offsets := make([]uint64, 1201)
	for i := 1; i <= 50; i++ {
		offsets[i] = s.put("room", fmt.Sprint(i))
		s.put("other", "x")
	}
	epoch := s.store.Epoch(subject.Shard(1, "room"))
	at := func(i int) protocol.Position { return protocol.Position{Epoch: epoch, Offset: offsets[i]} }
	check := func(what string, from protocol.Position, upTo uint64, max int, wanted []string, whole bool) {
		t.Helper()
		got, ok := s.resume("room", from, upTo, max)
		want(t, what, got, ok, wanted, whole)
	}
	check("from the middle", at(20), 0, 100, numbers(21, 50), true)
	check("up to", at(20), offsets[30], 100, numbers(21, 30), true)
	check("nothing missed", at(50), offsets[50], 100, nil, true)
	check("ahead of the gateway", at(50), offsets[40], 100, nil, true)
	check("from before the first message", empty, 0, 100, numbers(1, 50), true)
	check("from offset 0", protocol.Position{Epoch: epoch}, 0, 100, numbers(1, 50), true)
	check("without epoch", protocol.Position{Offset: offsets[20]}, 0, 100, numbers(21, 50), true)
	check("too many", at(20), 0, 29, nil, false)
	check("exactly as many", at(20), 0, 30, numbers(21, 50), true)
	check("another epoch", protocol.Position{Epoch: "x", Offset: offsets[20]}, 0, 100, nil, false)
	check("from the future", protocol.Position{Epoch: epoch, Offset: offsets[50] + 1<<20}, 0, 100, nil, false)
	check("of another shard", protocol.Position{Epoch: epoch, Offset: offsets[20] ^ 1}, 0, 100, nil, false)
	if got, whole := s.resume("roo/*", at(20), 0, 100); whole || len(got) > 0 {
		t.Errorf("a pattern: %v %t", got, whole)
	}

	if err := s.store.Trim(t.Context(), 1, "room", 25); err != nil {
		t.Fatal(err)
	}
	check("trimmed", at(20), 0, 100, nil, false)
	check("one before the oldest is missing", at(24), 0, 100, nil, false)
	check("right before the oldest", at(25), 0, 100, numbers(26, 50), true) // nothing behind it was removed
	check("the oldest", at(26), 0, 100, numbers(27, 50), true)
	check("trimmed, empty join", empty, 0, 100, nil, false)

	s.purge("room")
	check("purged", at(40), 0, 100, nil, false)
	check("purged at the end", at(50), 0, 100, nil, true) // nothing came behind it
	offsets[51] = s.put("room", "51")
	check("purged and gone on", at(40), 0, 100, nil, false)
	check("from the last before the purge", at(50), 0, 100, []string{"51"}, true)

	for i := 52; i <= 1200; i++ {
		offsets[i] = s.put("room", fmt.Sprint(i))
	}
	check("many pages", at(300), 0, 1000, numbers(301, 1200), true)
	check("dropped by the stream's limit", at(100), 0, 2000, nil, false)
}

// TestResumeAfterExpiry: what ran out was missed too.
func TestResumeAfterExpiry(t *testing.T) {
	s := single(t)
	ttl := func(_ *protocol.Publication, m *nats.Msg) { m.Header.Set("Nats-TTL", "1s") }
	pos := s.position("room")
	first := s.put("room", "1", ttl)
	s.put("room", "2", ttl)
	natstest.Eventually(t, "expiry", func() bool {
		got, _ := s.read("room", Range{})
		return len(got) == 0
	})
	for _, from := range []protocol.Position{pos, {Epoch: pos.Epoch, Offset: first}} {
		if got, whole := s.resume("room", from, 0, 100); whole {
			t.Errorf("from %v: whole with %v", from, got)
		}
	}
}

// TestEpoch: it stays over restarts and changes when a stream is created anew or went backwards; every store
// comes to the same one.
func TestEpoch(t *testing.T) {
	node := natstest.Single(t)
	s := newStand(t, node.URL(), 1)
	shard := subject.Shard(1, "room")
	for i := range 10 {
		s.put("room", fmt.Sprint(i))
	}
	first := s.store.Epoch(shard)
	refresh := func(st *Store) string {
		t.Helper()
		epoch, _, err := st.Refresh(t.Context(), shard)
		if err != nil {
			t.Fatal(err)
		}
		return epoch
	}
	if refresh(s.store) != first || first == "" || len(first) > 16 {
		t.Fatalf("epoch %q", first)
	}
	node.Stop()
	node.Start(t)
	natstest.Eventually(t, "reconnect", s.nc.IsConnected)
	other := newStand(t, node.URL(), 1)
	if refresh(s.store) != first || refresh(other.store) != first {
		t.Fatal("the epoch changed with a restart")
	}

	// Backwards: the stream loses its newest messages, as after a power failure without sync.
	s.store.saw(shard, 1000)
	second := refresh(s.store)
	if second == first {
		t.Fatal("the epoch stayed although the stream went backwards")
	}
	if refresh(other.store) != second {
		t.Fatal("two stores disagree")
	}

	if err := s.store.js.DeleteStream(t.Context(), subject.Stream(shard)); err != nil {
		t.Fatal(err)
	}
	if err := other.store.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := refresh(s.store)
	if third == first || third == second || refresh(other.store) != third {
		t.Fatalf("epochs %s %s %s", first, second, third)
	}
	if s.store.EpochOf(s.topic("a/*")) == "" {
		t.Error("a pattern has no epoch")
	}
	lost, err := New(Options{Control: s.nc, Reads: []*nats.Conn{s.nc}, MayHaveLost: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := lost.Ensure(t.Context()); err != nil || lost.Epoch(shard) == third {
		t.Fatalf("epoch %s after a possible loss, %v", lost.Epoch(shard), err)
	}
}

// TestEnsureTwice: several processes at once, on one server and on a cluster.
func TestEnsureTwice(t *testing.T) {
	run := func(t *testing.T, replicas int, urls ...string) {
		failures := make(chan error, 3)
		var stores []*Store
		for i := range 3 {
			nc, err := nats.Connect(urls[i%len(urls)])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			s, err := New(Options{Control: nc, Reads: []*nats.Conn{nc}, Replicas: replicas})
			if err != nil {
				t.Fatal(err)
			}
			stores = append(stores, s)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				failures <- s.Ensure(ctx)
			}()
		}
		for range stores {
			if err := <-failures; err != nil {
				t.Error(err)
			}
		}
		for shard := range subject.Shards {
			if e := stores[0].Epoch(shard); e == "" || e != stores[1].Epoch(shard) || e != stores[2].Epoch(shard) {
				t.Errorf("shard %d: epochs %q %q %q", shard, e, stores[1].Epoch(shard), stores[2].Epoch(shard))
			}
			info, err := stores[0].js.Stream(t.Context(), subject.Stream(shard))
			if err != nil {
				t.Fatal(err)
			}
			if !asWanted(info.CachedInfo().Config, StreamConfig(shard, replicas)) {
				t.Errorf("shard %d is not as wanted: %+v", shard, info.CachedInfo().Config)
			}
		}
	}
	t.Run("single", func(t *testing.T) { run(t, 1, natstest.Single(t).URL()) })
	t.Run("cluster", func(t *testing.T) { run(t, 3, natstest.NewCluster(t, 3).URLs()...) })
}

// TestEnsureUpdates brings a stream of other settings up to date.
func TestEnsureUpdates(t *testing.T) {
	s := single(t)
	cfg := StreamConfig(2, 1)
	cfg.MaxMsgsPerSubject, cfg.RePublish = 10, nil
	if _, err := s.store.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := s.store.js.Stream(t.Context(), subject.Stream(2))
	if err != nil || !asWanted(info.CachedInfo().Config, StreamConfig(2, 1)) {
		t.Errorf("%v, %+v", err, info.CachedInfo().Config)
	}
}

// TestUnavailable: without a broker, errors in time and never an empty answer.
func TestUnavailable(t *testing.T) {
	node := natstest.Single(t)
	s := newStand(t, node.URL(), 1)
	offset := s.put("room", "1")
	epoch := s.store.Epoch(subject.Shard(1, "room"))
	node.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.store.Read(ctx, s.topic("room"), Range{}); err == nil {
		t.Error("read without a broker")
	}
	if _, whole, err := s.store.Resume(ctx, s.topic("room"), protocol.Position{Epoch: epoch, Offset: offset}, 0, 10); err == nil || whole {
		t.Errorf("resume without a broker: %t %v", whole, err)
	}
	if _, err := s.store.Position(ctx, s.topic("room")); err == nil {
		t.Error("position without a broker")
	}
}

// TestStoredTrims: publications are trimmed in the background, and the queue is bounded.
func TestStoredTrims(t *testing.T) {
	s := single(t)
	for i := range maxTrims + 100 {
		s.store.trims.add(s.topic(protocol.Channel(fmt.Sprint("c", i))), 25)
	}
	if n := len(s.store.trims.take()); n != maxTrims {
		t.Errorf("%d wait, at most %d", n, maxTrims)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.store.Run(ctx) }()
	for i := 1; i <= 300; i++ {
		s.put("room", fmt.Sprint(i))
	}
	natstest.Eventually(t, "trimming", func() bool {
		s.store.Stored(1, "room", 25)
		got, _ := s.read("room", Range{})
		return len(got) == 25
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLongName: the longest name there can be, and one that is too long.
func TestLongName(t *testing.T) {
	s := single(t)
	long := protocol.Channel(strings.Repeat("*", subject.MaxChannelBytes))
	s.put(long, "1")
	got, _ := s.read(long, Range{})
	want(t, "long name", got, false, numbers(1, 1), false)
	if _, err := s.store.Read(t.Context(), s.topic(long+"x"), Range{}); err == nil {
		t.Error("a name that is too long was read")
	}
}
