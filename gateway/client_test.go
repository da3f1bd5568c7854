package gateway

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lxzan/gws"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// client is a WebSocket client that keeps what it receives.
type client struct {
	tb     testing.TB
	socket *gws.Conn
	mu     sync.Mutex
	frames []frame
	raw    []string
	news   chan struct{}
	closed chan struct{}
	mute   atomic.Bool // pings are not answered
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
		SocketID    string `json:"socketId"`
		Permissions struct {
			DboID int64          `json:"dbo_id"`
			RowID protocol.RowID `json:"row_id"`
		} `json:"permissions"`
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
	ce := &gws.CloseError{}
	if errors.As(err, &ce) {
		e.c.code = ce.Code
	}
	close(e.c.closed)
}

func (e *clientEvents) OnPing(c *gws.Conn, p []byte) {
	if !e.c.mute.Load() {
		_ = c.WritePong(p)
	}
}

func (s *server) dial(tb testing.TB, token string) *client {
	tb.Helper()
	return s.dialHash(tb, "hash", token)
}

func (s *server) dialHash(tb testing.TB, hash, token string) *client {
	tb.Helper()
	return dialOver(tb, s.connection(tb), hash, token)
}

// connection connects to the server, with TLS when it has a certificate.
func (s *server) connection(tb testing.TB) net.Conn {
	tb.Helper()
	nc, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", s.addr)
	if err != nil {
		tb.Fatal(err)
	}
	if s.trust == nil {
		return nc
	}
	secured := tls.Client(nc, s.trust)
	if err := secured.HandshakeContext(tb.Context()); err != nil {
		tb.Fatalf("TLS: %v", err)
	}
	return secured
}

// dialOver makes a client of a connection.
func dialOver(tb testing.TB, nc net.Conn, hash, token string) *client {
	tb.Helper()
	c := &client{tb: tb, news: make(chan struct{}, 1), closed: make(chan struct{})}
	h := http.Header{}
	if token != "" {
		h.Set("Sec-WebSocket-Protocol", token)
	}
	var err error
	var resp *http.Response
	c.socket, resp, err = gws.NewClientFromConn(&clientEvents{c: c}, &gws.ClientOption{
		Addr: "ws://test/rt/" + hash, RequestHeader: h,
		ReadMaxPayloadSize: 64 << 20, Logger: quiet{},
	}, nc)
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
	deadline := time.After(20 * time.Second)
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

// bubble is a gateway without a listener, for synctest: its sockets are pipes.
func bubble(tb testing.TB, o Options, rules ...policy.Rule) *server {
	tb.Helper()
	s := newServer(tb, o, rules...)
	s.run(tb)
	synctest.Wait()
	return s
}

// pipe opens a socket over a pipe. The gateway knows it when pipe returns: the answer to the handshake comes earlier.
func (s *server) pipe(tb testing.TB, token string) *client {
	tb.Helper()
	here, there := net.Pipe()
	go s.front.handshake(tb.Context(), there)
	c := dialOver(tb, here, "hash", token)
	synctest.Wait()
	return c
}
