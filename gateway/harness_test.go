package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Broker, History and Presence for one gateway: what the real ones do on a node that is alone,
// without a disk. It keeps everything stored in one sequence.
type memory struct {
	mu     sync.Mutex
	sinks  map[protocol.Topic]Sink
	stored []*protocol.Publication
	reads  int

	presenceMu sync.Mutex // apart, because Put and Delete are called with a topic's lock held
	put        map[memberKey]int
	remote     map[protocol.Topic]PresenceSink
	watchFails bool
	// block, when set, is waited for by stored publications.
	block chan struct{}
	fail  error
}

func newMemory() *memory {
	return &memory{sinks: map[protocol.Topic]Sink{}, put: map[memberKey]int{}, remote: map[protocol.Topic]PresenceSink{}}
}

type memberKey struct {
	topic   protocol.Topic
	session protocol.SessionID
}

type memoryFeed struct {
	m *memory
	t protocol.Topic
}

func (f memoryFeed) SetStored(context.Context, bool) error { return nil }
func (f memoryFeed) Delivered(*protocol.Publication) bool  { return true }
func (f memoryFeed) Detach() {
	f.m.mu.Lock()
	delete(f.m.sinks, f.t)
	f.m.mu.Unlock()
}

func (m *memory) Attach(_ context.Context, t protocol.Topic, stored bool, sink Sink) (Feed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	m.sinks[t] = sink
	if stored {
		sink.Reset(protocol.Position{Epoch: "e", Offset: m.lastLocked(t)})
	}
	return memoryFeed{m, t}, nil
}

func (m *memory) lastLocked(t protocol.Topic) uint64 {
	for _, v := range slices.Backward(m.stored) {
		if v.Channel == t.Channel && v.Server == t.Server {
			return v.Offset
		}
	}
	return 0
}

func (m *memory) Publish(p *protocol.Publication, stored bool, _ protocol.SessionID, done func(protocol.Receipt, error)) {
	if m.block != nil && stored {
		go func() { <-m.block; m.publish(p, stored, done) }()
		return
	}
	m.publish(p, stored, done)
}

func (m *memory) publish(p *protocol.Publication, stored bool, done func(protocol.Receipt, error)) {
	m.mu.Lock()
	if stored {
		p.Offset = uint64(len(m.stored) + 1)
		m.stored = append(m.stored, p)
	}
	var to []Sink
	for t, s := range m.sinks {
		if t.Server == p.Server && (t.Channel == p.Channel || t.Channel.Covers(p.Channel)) {
			to = append(to, s)
		}
	}
	for _, s := range to {
		s.Deliver(p)
	}
	m.mu.Unlock()
	r := protocol.Receipt{ID: p.ID}
	if stored {
		r.Position = protocol.Position{Epoch: "e", Offset: p.Offset}
	}
	done(r, nil)
}

func (m *memory) Read(_ context.Context, t protocol.Topic, r Range, allow func(protocol.Channel) bool) (Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	var all []*protocol.Publication
	for _, p := range m.stored {
		if p.Server == t.Server && (p.Channel == t.Channel || t.Channel.Covers(p.Channel)) && (r.UpTo == 0 || p.Offset <= r.UpTo) &&
			(r.Before == 0 && !r.HasBefore || p.Offset < r.Before) && p.Offset > r.After && (r.MaxAge == 0 || time.Since(p.Accepted) <= r.MaxAge) && (allow == nil || allow(p.Channel)) {
			all = append(all, p)
		}
	}
	if !r.HasAfter {
		slices.Reverse(all)
	}
	page, counted := Page{}, 0
	for _, p := range all {
		if !r.AimedApart || p.Audience.Kind < protocol.User {
			if counted++; r.Limit > 0 && counted > r.Limit {
				page.More = true
				break
			}
		}
		page.Publications = append(page.Publications, p)
	}
	if !r.HasAfter {
		slices.Reverse(page.Publications)
	}
	return page, nil
}

func (m *memory) Resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, most int, maxAge time.Duration) ([]*protocol.Publication, bool, error) {
	page, err := m.Read(ctx, t, Range{After: from.Offset, HasAfter: true, UpTo: upTo, Limit: most}, nil)
	if err != nil || page.More || maxAge > 0 && !m.young(t, from.Offset, maxAge) {
		return nil, false, err
	}
	return page.Publications, true, nil
}

// young tells whether the publication with an offset is not over its age.
func (m *memory) young(t protocol.Topic, offset uint64, maxAge time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.stored, func(p *protocol.Publication) bool {
		return p.Channel == t.Channel && p.Offset == offset && time.Since(p.Accepted) <= maxAge
	})
}

func (m *memory) Put(t protocol.Topic, s protocol.SessionID, _ []byte) {
	m.presenceMu.Lock()
	m.put[memberKey{t, s}]++
	m.presenceMu.Unlock()
}

func (m *memory) Delete(t protocol.Topic, s protocol.SessionID) {
	m.presenceMu.Lock()
	delete(m.put, memberKey{t, s})
	m.presenceMu.Unlock()
}

// members are the entries there are.
func (m *memory) members() []memberKey {
	m.presenceMu.Lock()
	defer m.presenceMu.Unlock()
	return slices.Collect(maps.Keys(m.put))
}

func (m *memory) Watch(_ context.Context, t protocol.Topic, sink PresenceSink) (func(), error) {
	m.presenceMu.Lock()
	defer m.presenceMu.Unlock()
	if m.watchFails {
		return nil, errors.New("no broker")
	}
	m.remote[t] = sink
	return func() {
		m.presenceMu.Lock()
		delete(m.remote, t)
		m.presenceMu.Unlock()
	}, nil
}

// tokens authenticates tokens of the form user-N.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (protocol.Identity, error) {
	var n int64
	if _, err := fmt.Sscanf(token, "user-%d", &n); err != nil {
		return protocol.Identity{}, err
	}
	return protocol.Identity{Authenticated: true, DboID: 7, RowID: protocol.RowIDFromInt(n)}, nil
}

// expiring is tokens that run out.
type expiring struct{ after time.Duration }

func (e expiring) Authenticate(ctx context.Context, token string) (protocol.Identity, error) {
	id, err := tokens{}.Authenticate(ctx, token)
	id.Expires = time.Now().Add(e.after)
	return id, err
}

type noTriggers struct{}

func (noTriggers) Join(context.Context, []policy.Trigger, TriggerInput) *protocol.Error { return nil }

func (noTriggers) Message(_ context.Context, _ []policy.Trigger, in TriggerInput) (json.RawMessage, *protocol.Error) {
	return in.Payload, nil
}

// server is a gateway on a loopback port with the memory behind it.
type server struct {
	*Gateway
	memory    *memory
	addr      string
	book      *bookStore
	front     *Front
	trust     *tls.Config // set when the server has a certificate
	ports     Ports
	stopFront func()
	stop      func()
}

type bookStore struct {
	mu   sync.Mutex
	book *policy.Book
}

func (b *bookStore) Current() *policy.Book {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.book
}

func bookOf(tb testing.TB, revision uint64, rules ...policy.Rule) *policy.Book {
	tb.Helper()
	for i := range rules {
		rules[i].ID, rules[i].Enabled = int64(i+1), true
	}
	s, err := policy.Compile(policy.Server{ID: 1, Name: "test", Enabled: true, Hash: "hash", Channels: rules}, policy.Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	book, err := policy.NewBook(revision, []*policy.Server{s})
	if err != nil {
		tb.Fatal(err)
	}
	return book
}

func open(pattern string, history int) policy.Rule {
	r := policy.Rule{
		Pattern: pattern, AnonymousClients: true, Presence: true, ClientPublicMessaging: true, ClientAuthenticatedMessaging: true,
		ClientPrivateMessaging: true, History: history, PatternJoin: policy.PatternJoinAnyone,
	}
	return r
}

func nested(pattern string, history int) policy.Rule {
	r := open(pattern, history)
	r.Wildcard = true
	return r
}

func testOptions() Options {
	return Options{
		Node: "testnode", Limits: protocol.DefaultLimits(), BacklogBytes: 512 << 10, WriteTimeout: 2 * time.Second,
		FlushInterval: 5 * time.Millisecond, IOURing: true, HandshakeTimeout: 30 * time.Second, PingInterval: 25 * time.Second, PongTimeout: time.Minute,
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}
}

func serve(tb testing.TB, o Options, rules ...policy.Rule) *server {
	tb.Helper()
	return serveWith(tb, o, nil, rules...)
}

// serveWith is serve with something changed before it starts.
func serveWith(tb testing.TB, o Options, change func(*server), rules ...policy.Rule) *server {
	tb.Helper()
	s := newServer(tb, o, rules...)
	if change != nil {
		change(s)
	}
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.addr = ln.Addr().String()
	accepting, stopAccepting := context.WithCancel(context.Background())
	var fronts sync.WaitGroup
	fronts.Go(func() { _ = s.front.Serve(accepting, ln, time.Second) })
	s.stopFront = func() {
		stopAccepting()
		fronts.Wait()
	}
	s.run(tb)
	eventually(tb, "ready", s.Ready)
	return s
}

func newServer(tb testing.TB, o Options, rules ...policy.Rule) *server {
	tb.Helper()
	s := &server{memory: newMemory(), book: &bookStore{book: bookOf(tb, 1, rules...)}, stopFront: func() {}}
	s.Gateway = New(o)
	s.rings.least = 1 // everything over TCP goes through a ring where the kernel has one
	s.front = &Front{Gateway: s.Gateway, Handler: http.NotFoundHandler(), Logger: o.Logger}
	s.ports = Ports{Broker: s.memory, History: s.memory, Presence: s.memory, Authenticator: tokens{}, Triggers: noTriggers{}, Settings: s.book}
	return s
}

func (s *server) run(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Gateway.Run(ctx, s.ports) })
	s.stop = sync.OnceFunc(func() {
		s.stopFront()
		s.Gateway.Close()
		cancel()
		running.Wait()
	})
	tb.Cleanup(s.stop)
}

func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
