package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/history"
	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// rig is a gateway's broker over some NATS.
type rig struct {
	*Broker
	t     testing.TB
	store *history.Store
	stop  func()
}

// newRig starts a gateway. change may alter the options before New, or the Broker before Run.
func newRig(t testing.TB, node string, co ConnectOptions, replicas int, change ...any) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := Connect(ctx, co)
	if err != nil {
		t.Fatal(err)
	}
	store, err := history.New(history.Options{Control: c.Control(), Reads: c.Reads(), Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	o := Options{Client: c, Node: protocol.NodeID(node), Backfill: store, Solo: co.InProcess != nil}
	for _, f := range change {
		if f, ok := f.(func(*Options)); ok {
			f(&o)
		}
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		if f, ok := f.(func(*Broker)); ok {
			f(b)
		}
	}
	running, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(running) }()
	r := &rig{Broker: b, t: t, store: store}
	r.stop = sync.OnceFunc(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// solo is a gateway with an embedded broker.
func solo(t testing.TB, change ...any) *rig {
	t.Helper()
	return newRig(t, "node0001", ConnectOptions{InProcess: startEmbedded(t, t.TempDir())}, 1, change...)
}

func startEmbedded(t testing.TB, dir string) *natsd.Embedded {
	t.Helper()
	e, err := natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := e.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func topic(c protocol.Channel) protocol.Topic { return protocol.Topic{Server: 1, Channel: c} }

func (r *rig) attach(c protocol.Channel, stored bool) (*Feed, *record) {
	r.t.Helper()
	s := &record{}
	f, err := r.Attach(r.t.Context(), topic(c), stored, s)
	if err != nil {
		r.t.Fatal(err)
	}
	return f, s
}

func (r *rig) publication(c protocol.Channel, id string) *protocol.Publication {
	return &protocol.Publication{
		Server: 1, Channel: c, Kind: protocol.KindMessage, Origin: r.o.Node, Accepted: time.Now(), ID: id,
		Frame: []byte(`{"action":"message","id":"` + id + `"}`),
	}
}

// publish waits for the answer.
func (r *rig) publish(c protocol.Channel, id string, stored bool) (protocol.Receipt, error) {
	return r.wait(func(done func(protocol.Receipt, error)) { r.Publish(r.publication(c, id), stored, "", done) })
}

func (r *rig) wait(f func(done func(protocol.Receipt, error))) (receipt protocol.Receipt, err error) {
	answered := make(chan struct{})
	f(func(got protocol.Receipt, failed error) {
		receipt, err = got, failed
		close(answered)
	})
	select {
	case <-answered:
	case <-time.After(30 * time.Second):
		r.t.Fatal("no answer")
	}
	return receipt, err
}

func (r *rig) mustPublish(c protocol.Channel, id string, stored bool) protocol.Receipt {
	r.t.Helper()
	receipt, err := r.publish(c, id, stored)
	if err != nil {
		r.t.Fatal(err)
	}
	return receipt
}

// record is a Sink that remembers, and complains about broken order.
type record struct {
	mu     sync.Mutex
	ids    []string
	pubs   []*protocol.Publication
	last   map[protocol.Channel]uint64
	resets []protocol.Position
	gaps   []string
	wrong  []string
}

func (s *record) Reset(pos protocol.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resets = append(s.resets, pos)
	s.last = nil
}

func (s *record) Deliver(p *protocol.Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.resets) == 0 {
		s.wrong = append(s.wrong, "delivered before Reset: "+p.ID)
	}
	if p.Offset > 0 {
		if s.last == nil {
			s.last = map[protocol.Channel]uint64{}
		}
		if p.Offset <= s.last[p.Channel] {
			s.wrong = append(s.wrong, fmt.Sprintf("%s: %d after %d", p.Channel, p.Offset, s.last[p.Channel]))
		}
		s.last[p.Channel] = p.Offset
	}
	s.ids = append(s.ids, p.ID)
	s.pubs = append(s.pubs, p)
}

func (s *record) Gap(c protocol.Channel, from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a := subject.SplitOffset(from)
	_, b := subject.SplitOffset(to)
	s.gaps = append(s.gaps, fmt.Sprintf("%s %d-%d", c, a, b))
}

func (s *record) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

func (s *record) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

func (s *record) resetCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.resets)
}

// expect waits until exactly these came, in this order.
func (s *record) expect(t testing.TB, ids ...string) {
	t.Helper()
	natstest.Eventually(t, fmt.Sprintf("%d publications", len(ids)), func() bool { return s.count() >= len(ids) })
	s.check(t)
	if got := s.got(); !slices.Equal(got, ids) {
		t.Fatalf("got %v, want %v", got, ids)
	}
}

func (s *record) check(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wrong {
		t.Error(w)
	}
}
