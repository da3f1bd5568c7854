package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/lxzan/gws"
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
	put        map[protocol.SessionID]int
	remote     map[protocol.Topic]PresenceSink
	// block, when set, is waited for by stored publications.
	block chan struct{}
	fail  error
}

func newMemory() *memory {
	return &memory{sinks: map[protocol.Topic]Sink{}, put: map[protocol.SessionID]int{}, remote: map[protocol.Topic]PresenceSink{}}
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
	for i := len(m.stored) - 1; i >= 0; i-- {
		if m.stored[i].Channel == t.Channel && m.stored[i].Server == t.Server {
			return m.stored[i].Offset
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

func (m *memory) Read(_ context.Context, t protocol.Topic, r Range) (Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	var all []*protocol.Publication
	for _, p := range m.stored {
		if p.Server == t.Server && (p.Channel == t.Channel || t.Channel.Covers(p.Channel)) && (r.UpTo == 0 || p.Offset <= r.UpTo) &&
			(r.Before == 0 || p.Offset < r.Before) && p.Offset > r.After {
			all = append(all, p)
		}
	}
	page := Page{Publications: all}
	if r.Limit > 0 && len(all) > r.Limit {
		page.More = true
		if r.HasAfter {
			page.Publications = all[:r.Limit]
		} else {
			page.Publications = all[len(all)-r.Limit:]
		}
	}
	return page, nil
}

func (m *memory) Resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, most int) ([]*protocol.Publication, bool, error) {
	page, err := m.Read(ctx, t, Range{After: from.Offset, HasAfter: true, UpTo: upTo, Limit: most})
	return page.Publications, !page.More, err
}

func (m *memory) Put(_ protocol.Topic, s protocol.SessionID, _ []byte) {
	m.presenceMu.Lock()
	m.put[s]++
	m.presenceMu.Unlock()
}

func (m *memory) Delete(_ protocol.Topic, s protocol.SessionID) {
	m.presenceMu.Lock()
	delete(m.put, s)
	m.presenceMu.Unlock()
}

func (m *memory) Watch(_ context.Context, t protocol.Topic, sink PresenceSink) (func(), error) {
	m.presenceMu.Lock()
	defer m.presenceMu.Unlock()
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

type noTriggers struct{}

func (noTriggers) Join(context.Context, []policy.Trigger, TriggerInput) *protocol.Error { return nil }
func (noTriggers) Message(_ context.Context, _ []policy.Trigger, in TriggerInput) (json.RawMessage, *protocol.Error) {
	return in.Payload, nil
}

// server is a gateway on a loopback port with the memory behind it.
type server struct {
	*Gateway
	memory *memory
	addr   string
	book   *bookStore
	stop   func()
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
	r := policy.Rule{Pattern: pattern, AnonymousClients: true, Presence: true, ClientPublicMessaging: true, ClientAuthenticatedMessaging: true,
		ClientPrivateMessaging: true, History: history, PatternJoin: policy.PatternJoinAnyone}
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
		FlushInterval: 5 * time.Millisecond, HandshakeTimeout: 2 * time.Second, PingInterval: 25 * time.Second, PongTimeout: time.Minute,
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}
}

func serve(tb testing.TB, o Options, rules ...policy.Rule) *server {
	tb.Helper()
	s := &server{memory: newMemory(), book: &bookStore{book: bookOf(tb, 1, rules...)}}
	s.Gateway = New(o)
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	accepting, stopAccepting := context.WithCancel(context.Background())
	var running, fronts sync.WaitGroup
	running.Go(func() {
		_ = s.Gateway.Run(ctx, Ports{Broker: s.memory, History: s.memory, Presence: s.memory, Authenticator: tokens{}, Triggers: noTriggers{}, Settings: s.book})
	})
	front := &Front{Gateway: s.Gateway, Handler: http.NotFoundHandler(), Logger: o.Logger}
	fronts.Go(func() { _ = front.Serve(accepting, ln, time.Second) })
	s.stop = sync.OnceFunc(func() {
		stopAccepting()
		fronts.Wait()
		s.Gateway.Close()
		cancel()
		running.Wait()
	})
	tb.Cleanup(s.stop)
	eventually(tb, "ready", s.Ready)
	return s
}

// client is a WebSocket client that keeps what it receives.
type client struct {
	tb     testing.TB
	socket *gws.Conn
	mu     sync.Mutex
	frames []frame
	raw    []string
	news   chan struct{}
	closed chan struct{}
	code   uint16
}

type frame struct {
	Action  string `json:"action"`
	Options struct {
		Channel string `json:"channel"`
		Source  string `json:"source"`
		ID      string `json:"id"`
		Offset  string `json:"offset"`
		Epoch   string `json:"epoch"`
		Ref     string `json:"ref"`
	} `json:"options"`
	Client struct {
		SocketID string `json:"socketId"`
	} `json:"client"`
	Payload json.RawMessage `json:"payload"`
}

type clientEvents struct {
	gws.BuiltinEventHandler
	c *client
}

func (e *clientEvents) OnMessage(_ *gws.Conn, m *gws.Message) {
	var f frame
	text := string(m.Bytes())
	_ = m.Close()
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		e.c.tb.Errorf("frame is not JSON: %v: %.200s", err, text)
	}
	e.c.mu.Lock()
	e.c.frames = append(e.c.frames, f)
	e.c.raw = append(e.c.raw, text)
	e.c.mu.Unlock()
	select {
	case e.c.news <- struct{}{}:
	default:
	}
}

func (e *clientEvents) OnClose(_ *gws.Conn, err error) {
	if ce, ok := err.(*gws.CloseError); ok {
		e.c.code = ce.Code
	}
	close(e.c.closed)
}
func (e *clientEvents) OnPing(c *gws.Conn, p []byte) { _ = c.WritePong(p) }

func (s *server) dial(tb testing.TB, token string) *client {
	tb.Helper()
	return s.dialHash(tb, "hash", token)
}

func (s *server) dialHash(tb testing.TB, hash, token string) *client {
	tb.Helper()
	c := &client{tb: tb, news: make(chan struct{}, 1), closed: make(chan struct{})}
	h := http.Header{}
	if token != "" {
		h.Set("Sec-WebSocket-Protocol", token)
	}
	var err error
	var resp *http.Response
	c.socket, resp, err = gws.NewClient(&clientEvents{c: c}, &gws.ClientOption{Addr: "ws://" + s.addr + "/rt/" + hash, RequestHeader: h, Logger: quiet{}})
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != token {
		tb.Fatalf("subprotocol: got %q, want %q", got, token)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.socket.ReadLoop()
	}()
	tb.Cleanup(func() {
		_ = c.socket.NetConn().Close()
		<-done
	})
	return c
}

func (c *client) send(text string) {
	c.tb.Helper()
	if err := c.socket.WriteString(text); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

func (c *client) join(channel, payload string) frame {
	c.tb.Helper()
	name, _ := json.Marshal(channel)
	c.send(`{"action":"join","options":{"channel":` + string(name) + `},"payload":` + payload + `}`)
	return c.want("join answer", func(f *frame) bool { return f.Action == "join" && f.Options.Channel == channel })
}

// want waits for a frame that fits, and takes everything up to it.
func (c *client) want(what string, fits func(*frame) bool) frame {
	c.tb.Helper()
	deadline := time.After(10 * time.Second)
	for {
		c.mu.Lock()
		for i := range c.frames {
			if fits(&c.frames[i]) {
				f := c.frames[i]
				c.frames = c.frames[i+1:]
				c.mu.Unlock()
				return f
			}
		}
		c.mu.Unlock()
		select {
		case <-c.news:
		case <-c.closed:
			c.tb.Fatalf("closed with %d while waiting for %s; frames: %v", c.code, what, c.raw)
		case <-deadline:
			c.tb.Fatalf("no %s; frames: %v", what, c.raw)
		}
	}
}

func (c *client) action(action string) frame {
	c.tb.Helper()
	return c.want(action, func(f *frame) bool { return f.Action == action })
}

// texts are the frames received so far, whole.
func (c *client) texts() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.raw...)
}

// sync waits until the server has processed everything sent before.
func (c *client) sync(ref string) {
	c.tb.Helper()
	c.send(`{"action":"message","options":{"channel":"no such channel here","ref":"` + ref + `"},"payload":0}`)
	c.want("answer "+ref, func(f *frame) bool { return f.Options.Ref == ref })
}

func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
