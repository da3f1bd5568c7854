package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/internal/policy"
)

// newStore makes a store on a connection, ready to be used but not running.
func newStore(t testing.TB, nc *nats.Conn) *Store {
	t.Helper()
	s, err := New(Options{Conn: nc, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), CheckInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// follow runs a store until the test ends.
func follow(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func bucketOf(t testing.TB, nc *nats.Conn) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), bucketName)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestFirstStart(t *testing.T) {
	broker := startBroker(t, "")
	var group sync.WaitGroup
	stores := make([]*Store, 8)
	for i := range stores {
		nc := connect(t, broker)
		group.Go(func() {
			s, err := New(Options{Conn: nc})
			if err == nil {
				err = s.Ensure(t.Context())
			}
			if err == nil {
				err = s.Load(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	first := stores[0].Current().ByID(1)
	if first == nil || first.Enabled || len(first.Hash) != 27 {
		t.Fatalf("workspace 1 is %+v, want one that is disabled and has a hash", first)
	}
	for _, s := range stores {
		if got := s.Current(); len(got.Servers()) != 1 || got.ByHash(first.Hash) == nil {
			t.Errorf("stores differ: %v", got.Servers())
		}
	}
	status, err := bucketOf(t, connect(t, broker)).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := status.Config(); c.Storage != jetstream.FileStorage || c.History != 16 || c.Replicas != 1 {
		t.Errorf("bucket is %+v", c)
	}
}

func TestDeletedServerStaysDeleted(t *testing.T) {
	broker := startBroker(t, "")
	s := newStore(t, connect(t, broker))
	if err := s.Delete(t.Context(), 1, 0); err != nil {
		t.Fatal(err)
	}
	if s.Current().ByID(1) != nil {
		t.Error("still there after Delete")
	}
	again := newStore(t, connect(t, broker))
	if n := len(again.Current().Servers()); n != 0 {
		t.Errorf("%d servers after a restart, want 0", n)
	}
	made, err := again.Create(t.Context(), policy.Server{Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	if made.ID != 2 {
		t.Errorf("new server has number %d; 1 must not be used again, its history would turn up", made.ID)
	}
	if err := again.Delete(t.Context(), 7, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of nothing: %v", err)
	}
}

func TestSaveReadsBack(t *testing.T) {
	s := newStore(t, connect(t, startBroker(t, "")))
	in := s.Current().ByID(1).Clone()
	in.Enabled = true
	in.Hash = "demo"
	in.Channels = []policy.Rule{{Pattern: "chat/*", Enabled: true, History: 50}, {Pattern: "room1", Enabled: true}}
	out, err := s.Save(t.Context(), in, s.Current().ByID(1).Revision)
	if err != nil {
		t.Fatal(err)
	}
	now := s.Current().ByHash("demo")
	if now == nil || now.Revision != out.Revision {
		t.Fatal("what was saved is not in force here")
	}
	r := now.Rule("chat/sports")
	if r == nil || r.Pattern != "chat" || !r.Wildcard || r.ID < firstRuleID || r.ID >= firstRuleID+ruleIDs {
		t.Fatalf("rule of chat/sports is %+v", r)
	}
	// The id stays when a tool sends the rules without it.
	out, err = s.Update(t.Context(), 1, 0, func(p *policy.Server) error {
		p.Channels = []policy.Rule{{Pattern: "chat", Wildcard: true, Enabled: true, History: 100}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Rule("chat/x"); got == nil || got.ID != r.ID || got.History != 100 {
		t.Errorf("rule is %+v, want id %d", got, r.ID)
	}
}

func TestSaveRefusals(t *testing.T) {
	s := newStore(t, connect(t, startBroker(t, "")))
	other, err := s.Create(t.Context(), policy.Server{Hash: "taken"})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Current().ByID(1)
	change := func(f func(*policy.Server)) policy.Server {
		c := first.Clone()
		f(&c)
		return c
	}
	for _, c := range []struct {
		name     string
		server   policy.Server
		revision uint64
		field    string
		err      error
	}{
		{"hash of another", change(func(p *policy.Server) { p.Hash = other.Hash }), first.Revision, "hash", nil},
		{"bad history", change(func(p *policy.Server) { p.Channels = []policy.Rule{{Pattern: "a", History: 7}} }), first.Revision, "channels[0].history", nil},
		{"old revision", change(func(*policy.Server) {}), first.Revision + 100, "", ErrConflict},
		{"no revision", change(func(*policy.Server) {}), 0, "", ErrConflict},
		{"not there", change(func(p *policy.Server) { p.ID = 99 }), 1, "", ErrNotFound},
		{"too large", change(func(p *policy.Server) {
			for i := range 1000 {
				text := make([]byte, 1000)
				for j := range text {
					text[j] = 1 // six bytes each in JSON
				}
				p.Channels = append(p.Channels, policy.Rule{Pattern: fmt.Sprint("c", i), Description: string(text)})
			}
		}), first.Revision, "channels", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Save(t.Context(), c.server, c.revision)
			if c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if c.field != "" {
				e, ok := errors.AsType[*policy.FieldError](err)
				if !ok || e.Field != c.field {
					t.Errorf("error %v, want one of field %s", err, c.field)
				}
			}
		})
	}
	if s.Current().ByID(1) != first {
		t.Error("a refused change came into force")
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	broker := startBroker(t, "")
	const writers, each = 4, 10
	stores := make([]*Store, writers)
	for i := range stores {
		stores[i] = newStore(t, connect(t, broker))
		follow(t, stores[i])
	}
	var group sync.WaitGroup
	for i, s := range stores {
		group.Go(func() {
			for j := range each {
				_, err := s.Update(t.Context(), 1, 0, func(p *policy.Server) error {
					p.Channels = append(p.Channels, policy.Rule{Pattern: fmt.Sprintf("w%d/%d", i, j), Enabled: true})
					return nil
				})
				for errors.Is(err, ErrConflict) { // all tries lost: the caller may go on
					_, err = s.Update(t.Context(), 1, 0, func(p *policy.Server) error {
						p.Channels = append(p.Channels, policy.Rule{Pattern: fmt.Sprintf("w%d/%d", i, j), Enabled: true})
						return nil
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for _, s := range stores {
		eventually(t, "all rules on every node", func() bool {
			return len(s.Current().ByID(1).Channels) == writers*each
		})
	}
}

func TestOneOfManyWins(t *testing.T) {
	broker := startBroker(t, "")
	var won, lost atomic.Int32
	var group sync.WaitGroup
	stores := make([]*Store, 8)
	for i := range stores {
		stores[i] = newStore(t, connect(t, broker))
	}
	for i, s := range stores {
		group.Go(func() {
			in := s.Current().ByID(1).Clone()
			in.Name = fmt.Sprint("writer ", i)
			switch _, err := s.Save(t.Context(), in, in.Revision); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, ErrConflict):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d won and %d lost, want 1 and 7", won.Load(), lost.Load())
	}
}

func TestChangesReachOthersInOrder(t *testing.T) {
	broker := startBroker(t, "")
	writer, reader := newStore(t, connect(t, broker)), newStore(t, connect(t, broker))
	var mu sync.Mutex
	last := reader.Current()
	reader.OnChange(func(old, now *policy.Book) {
		mu.Lock()
		defer mu.Unlock()
		if old != last || now.Revision <= old.Revision {
			t.Errorf("told %d -> %d after %d", old.Revision, now.Revision, last.Revision)
		}
		last = now
	})
	follow(t, writer)
	follow(t, reader)
	for i := range 50 {
		began := time.Now()
		stored, err := writer.Update(t.Context(), 1, 0, func(p *policy.Server) error {
			p.Name = fmt.Sprint("name ", i)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change on the other node", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return last.ByID(1).Revision == stored.Revision
		})
		if i == 49 {
			t.Logf("last change took %v", time.Since(began))
		}
	}
	if err := writer.Delete(t.Context(), 1, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion on the other node", func() bool { return reader.Current().ByID(1) == nil })
}

func TestInvalidStoredValueKeepsPrevious(t *testing.T) {
	broker := startBroker(t, "")
	nc := connect(t, broker)
	s := newStore(t, nc)
	follow(t, s)
	good, err := s.Update(t.Context(), 1, 0, func(p *policy.Server) error {
		p.Enabled = true
		p.Channels = []policy.Rule{{Pattern: "a", Enabled: true}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rule := s.Current().ByID(1).Rule("a")
	kv := bucketOf(t, nc)
	for i, bad := range []string{`{`, `[]`, `{"id":2}`, `{"anonymus":true}`, `{"hash":"x y"}`, `{"hash":"ok","channels":[{"pattern":"a","history":3}]}`} {
		revision, err := kv.PutString(t.Context(), key(1), bad)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the bad value noticed", func() bool {
			return testutil.ToFloat64(s.metrics.invalid) == float64(i+1) && s.Current().ByID(1).Revision == revision
		})
		now := s.Current().ByID(1)
		if now.Hash != good.Hash || now.Rule("a") != rule {
			t.Fatalf("%s: settings in force changed: %+v", bad, now)
		}
	}
	// A node that starts now reads what the others have in force.
	late := newStore(t, connect(t, broker))
	if now := late.Current().ByID(1); now == nil || now.Hash != good.Hash || now.Revision != s.Current().ByID(1).Revision {
		t.Fatalf("a node that starts after the accident has %+v in force", now)
	}
	for _, node := range []*Store{s, late} {
		if n := testutil.ToFloat64(node.metrics.refused); n != 1 {
			t.Errorf("%v servers refused", n)
		}
	}
	for _, k := range []string{"server.x", "server.0", "server.01", "other"} {
		if _, err := kv.PutString(t.Context(), k, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever read the settings after the accident can put them right by compare-and-set.
	if _, err := s.Save(t.Context(), s.Current().ByID(1).Clone(), s.Current().ByID(1).Revision); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(s.metrics.refused); n != 0 {
		t.Errorf("%v servers refused after the repair", n)
	}
	fresh := newStore(t, connect(t, broker))
	if fresh.Current().ByID(1).Rule("a") == nil || len(fresh.Current().Servers()) != 1 {
		t.Error("the repaired settings are not what a new node reads")
	}
}

func TestSharedHashIsSettledByNumber(t *testing.T) {
	broker := startBroker(t, "")
	nc := connect(t, broker)
	s := newStore(t, nc)
	follow(t, s)
	second, err := s.Create(t.Context(), policy.Server{Hash: "second"})
	if err != nil {
		t.Fatal(err)
	}
	// Past the API's check, as two nodes could do at one moment.
	if _, err := bucketOf(t, nc).PutString(t.Context(), key(2), `{"id":2,"hash":"`+s.Current().ByID(1).Hash+`","name":"thief"}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the claim noticed", func() bool { return s.Current().ByID(2).Revision > second.Revision })
	if got := s.Current().ByID(2); got.Hash != "second" || s.Current().ByHash("second") != got {
		t.Errorf("server 2 has hash %q, want the one it had", got.Hash)
	}
}

func TestSurvivesBrokerRestart(t *testing.T) {
	dir := t.TempDir()
	broker := startBroker(t, dir)
	var current atomic.Pointer[natsServer]
	current.Store(broker)
	nc, err := nats.Connect("", nats.SetCustomDialer(&restartDialer{&current}),
		nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	eventually(t, "connected", nc.IsConnected)
	s := newStore(t, nc)
	follow(t, s)
	hash := s.Current().ByID(1).Hash

	broker.Shutdown()
	broker.WaitForShutdown()
	eventually(t, "the loss noticed", func() bool { return !nc.IsConnected() })
	if s.Current().ByHash(hash) == nil {
		t.Fatal("settings went away with the broker")
	}
	again := startBroker(t, dir)
	current.Store(again)
	eventually(t, "connected again", nc.IsConnected)
	writer := newStore(t, connect(t, again))
	if _, err := writer.Update(t.Context(), 1, 0, func(p *policy.Server) error { p.Name = "after"; return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a change after the restart", func() bool { return s.Current().ByID(1).Name == "after" })
}

func TestBucketMadeAnew(t *testing.T) {
	broker := startBroker(t, "")
	nc := connect(t, broker)
	s := newStore(t, nc)
	follow(t, s)
	for range 3 {
		if _, err := s.Create(t.Context(), policy.Server{}); err != nil {
			t.Fatal(err)
		}
	}
	old := s.Current().ByID(1).Hash
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), bucketName); err != nil {
		t.Fatal(err)
	}
	// A snapshot that the deletion overtakes waits for its whole timeout.
	eventually(t, "the loss noticed", func() bool { return testutil.ToFloat64(s.metrics.restarts) > 0 })
	if s.Current().ByHash(old) == nil {
		t.Fatal("settings went away with the bucket")
	}
	fresh := newStore(t, connect(t, broker))
	want := fresh.Current().ByID(1).Hash
	eventually(t, "the new bucket in force", func() bool {
		return s.Current().ByHash(want) != nil && len(s.Current().Servers()) == 1
	})
}

func TestLoadWithoutBucket(t *testing.T) {
	s, err := New(Options{Conn: connect(t, startBroker(t, ""))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("neither connection nor file is no error")
	}
}
