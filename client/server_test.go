package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"fanfare/client"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a realtime server in memory whose every frame the test writes.
type server struct {
	t     *testing.T
	pipes chan net.Conn
	peers chan *peer
	// refuse answers an upgrade in place of the server when it returns true.
	refuse func(http.ResponseWriter, *http.Request) bool
	http   *http.Server
	closed chan struct{}
	once   sync.Once
}

// newServer starts a server that ends with the test.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, pipes: make(chan net.Conn), peers: make(chan *peer, 16), closed: make(chan struct{})}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.http.Serve(s)
	}()
	t.Cleanup(func() {
		_ = s.http.Close()
		<-done
	})
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	if s.refuse != nil && s.refuse(w, r) {
		return
	}
	o := &websocket.AcceptOptions{}
	if token := r.Header.Get("Sec-WebSocket-Protocol"); token != "" {
		o.Subprotocols = []string{token}
	}
	ws, err := websocket.Accept(w, r, o)
	if err != nil {
		return
	}
	ws.SetReadLimit(-1)
	p := &peer{t: s.t, ws: ws, token: r.Header.Get("Sec-WebSocket-Protocol"), ctx: context.WithoutCancel(r.Context()), frames: make(chan []byte, 64)}
	s.peers <- p
	// A reader of its own answers pings and closing handshakes while the test does something else.
	for {
		_, b, err := ws.Read(p.ctx)
		if err != nil {
			p.err = err
			close(p.frames)
			return
		}
		p.frames <- b
	}
}

func (s *server) Accept() (net.Conn, error) {
	select {
	case c := <-s.pipes:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *server) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *server) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (s *server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case s.pipes <- b:
		return a, nil
	case <-s.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// client dials the server.
func (s *server) client(o client.Options) *client.Client {
	s.t.Helper()
	c, err := s.dialClient(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *server) dialClient(ctx context.Context, o client.Options) (*client.Client, error) {
	o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}}
	return client.Dial(ctx, "ws://memory/rt/demo", o)
}

// peer is the server's end of one connection.
type peer struct {
	t      *testing.T
	ws     *websocket.Conn
	ctx    context.Context
	token  string
	frames chan []byte
	err    error // of the last read, once frames is closed
}

func (s *server) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		return p
	case <-time.After(10 * time.Minute):
		s.t.Fatal("nobody connected")
	}
	return nil
}

func (p *peer) read() string {
	p.t.Helper()
	select {
	case b, ok := <-p.frames:
		if !ok {
			p.t.Fatalf("the client closed: %v", p.err)
		}
		return string(b)
	case <-time.After(10 * time.Minute):
		p.t.Fatal("nothing came")
	}
	return ""
}

func (p *peer) want(frames ...string) {
	p.t.Helper()
	for _, want := range frames {
		if got := p.read(); got != want {
			p.t.Fatalf("the client sent\n     %s\nwant %s", got, want)
		}
	}
}

// sent reads a message frame and gives its ref and payload.
func (p *peer) sent() (ref, payload string) {
	p.t.Helper()
	r, failed := protocol.Decode([]byte(p.read()), 128)
	if failed != nil || r.Action != protocol.ActionMessage {
		p.t.Fatalf("not a message: %v %v", r.Action, failed)
	}
	return r.Ref, string(r.Payload)
}

func (p *peer) send(frames ...string) {
	p.t.Helper()
	for _, f := range frames {
		if err := p.ws.Write(p.ctx, websocket.MessageText, []byte(f)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *peer) close(code websocket.StatusCode) { _ = p.ws.Close(code, "") }

// The frames the tests speak, by the server's own encoders.

var me = protocol.Member{Session: "gate0001me", Identity: &protocol.Identity{}}

func joined(channel string, position *protocol.Position, resumed protocol.Resumed) string {
	var at protocol.Position
	if position != nil {
		at = *position
	}
	return string(protocol.AppendJoin(nil, protocol.Channel(channel), me, position != nil, at, resumed))
}

func message(channel, text string, offset uint64) string {
	b, splice := protocol.AppendMessage(nil, protocol.Channel(channel), protocol.Audience{}, "id-"+text, me, protocol.AppendString(nil, text))
	return string(protocol.AppendPublication(nil, &protocol.Publication{Frame: b, Splice: splice, Offset: offset}))
}

func ack(channel, ref, id string, offset uint64) string {
	return string(protocol.AppendAck(nil, protocol.Channel(channel), ref, id, offset))
}

func failure(channel, ref string, e *protocol.Error) string {
	return string(protocol.AppendError(nil, protocol.Channel(channel), ref, e))
}

const joinRoom = `{"action":"join","options":{"channel":"room"},"payload":{"history":false,"presence":false}}`

func joinRoomFrom(offset uint64) string {
	return `{"action":"join","options":{"channel":"room"},"payload":{"history":false,"presence":false,"resume":{"offset":"` +
		strconv.FormatUint(offset, 10) + `","epoch":"e1"}}}`
}

const leaveRoom = `{"action":"leave","options":{"channel":"room"},"payload":null}`

func at(offset uint64) *protocol.Position { return &protocol.Position{Epoch: "e1", Offset: offset} }

// join joins room and answers.
func join(t *testing.T, p *peer, ch *client.Channel, position *protocol.Position) {
	t.Helper()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		p.want(joinRoom)
		p.send(joined("room", position, protocol.ResumeNotAsked))
	})
	if err := ch.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := next(t, ch).(*client.Joined); !ok {
		t.Fatal("no Joined event")
	}
}

func next(t *testing.T, ch *client.Channel) client.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	e, err := ch.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// kind waits for an event of type E.
func kind[E client.Event](t *testing.T, ch *client.Channel) E {
	t.Helper()
	e := next(t, ch)
	got, ok := e.(E)
	if !ok {
		b, _ := json.Marshal(e)
		t.Fatalf("%T %s, want %T", e, b, got)
	}
	return got
}

func wantMessages(t *testing.T, ch *client.Channel, texts ...string) {
	t.Helper()
	for _, want := range texts {
		m := kind[*client.Message](t, ch)
		var got string
		if err := m.Decode(&got); err != nil || got != want {
			t.Fatalf("message %s, want %q", m.Data, want)
		}
	}
}

// wantNothing asserts that no event comes while everything else has come to rest.
func wantNothing(t *testing.T, ch *client.Channel) {
	t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := ch.Next(ctx); !errors.Is(err, context.Canceled) {
		b, _ := json.Marshal(e)
		t.Fatalf("%T %s %v, want nothing", e, b, err)
	}
}
