package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lxzan/gws"
	"golang.org/x/time/rate"

	"fanfare/protocol"
)

// readBuffer is the reader each socket keeps; larger frames are read past it.
const readBuffer = 512

// retryAfter is what a refused client is told to wait, in seconds.
const retryAfter = 2

func (g *Gateway) newConn(nc net.Conn) *conn {
	return &conn{Conn: nc, limits: &g.connLimits, fd: rawFD(nc)}
}

// ServeHTTP upgrades a socket that arrived on a connection of an http.Server.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if no := g.refuse(r); no != nil {
		g.metrics.refused.WithLabelValues(no.code).Inc()
		w.Header().Set("Content-Type", "application/json")
		if no.retryAfter > 0 {
			w.Header().Set("Retry-After", "2")
		}
		if no.status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
		}
		w.WriteHeader(no.status)
		_, _ = io.WriteString(w, no.body())
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		g.log.Error("socket cannot be taken over", "err", err)
		http.Error(w, "upgrade is not possible here", http.StatusInternalServerError)
		return
	}
	_ = nc.SetDeadline(time.Time{})
	c := g.newConn(nc)
	var rest io.Reader = c
	if p, ok := nc.(*peeked); ok {
		c = p.conn
		c.setBlocking(false)
		if rest = c; p.br != nil { // it may hold bytes that came with the first request
			rest = p
		}
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		rest = io.MultiReader(strings.NewReader(string(early)), rest)
	}
	g.upgrade(c, rest, r)
}

// accept upgrades or refuses a socket on a bare connection.
func (g *Gateway) accept(c *conn, rest io.Reader, r *http.Request) {
	if no := g.refuse(r); no != nil {
		g.metrics.refused.WithLabelValues(no.code).Inc()
		no.write(c)
		return
	}
	g.upgrade(c, rest, r)
}

// refuse says why a request is not upgraded; nil = it is.
func (g *Gateway) refuse(r *http.Request) *refusal {
	hash := strings.TrimPrefix(r.URL.Path, "/rt/")
	switch {
	case hash == "" || strings.Contains(hash, "/"):
		return &refusal{status: http.StatusNotFound, code: "not_found", text: "Sockets live at /rt/{connection hash}."}
	case !r.ProtoAtLeast(1, 1):
		return &refusal{status: http.StatusHTTPVersionNotSupported, code: "http_version", text: "HTTP/1.1 is needed."}
	case !headerHas(r.Header, "Connection", "upgrade") || !headerHas(r.Header, "Upgrade", "websocket"):
		return &refusal{status: http.StatusUpgradeRequired, code: "upgrade_required", text: "This address speaks WebSocket.", header: "Upgrade: websocket\r\n"}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return &refusal{status: http.StatusUpgradeRequired, code: "websocket_version", text: "WebSocket version 13 is needed.", header: "Sec-WebSocket-Version: 13\r\n"}
	case r.Header.Get("Sec-WebSocket-Key") == "":
		return &refusal{status: http.StatusBadRequest, code: "bad_request", text: "Sec-WebSocket-Key is missing."}
	case !g.originAllowed(r.Header.Get("Origin")):
		return &refusal{status: http.StatusForbidden, code: "origin", text: "This origin is not allowed."}
	case g.draining.Load():
		return &refusal{status: http.StatusServiceUnavailable, code: "draining", text: "This gateway is stopping. Try again.", retryAfter: retryAfter}
	case !g.ready.Load():
		return &refusal{status: http.StatusServiceUnavailable, code: "starting", text: "This gateway is starting. Try again.", retryAfter: retryAfter}
	case !g.upgrades.allow():
		return &refusal{status: http.StatusServiceUnavailable, code: "overloaded", text: "Too many connections at once. Try again.", retryAfter: retryAfter}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opts.Sockets > 0 && len(g.sessions) >= g.opts.Sockets {
		return &refusal{status: http.StatusServiceUnavailable, code: "sockets", text: "This gateway is full. Try again.", retryAfter: retryAfter}
	}
	if g.opts.SocketsPerAddress > 0 && g.addresses[host(r.RemoteAddr)] >= g.opts.SocketsPerAddress {
		return &refusal{status: http.StatusTooManyRequests, code: "address_sockets", text: "Too many connections from this address.", retryAfter: retryAfter}
	}
	return nil
}

func headerHas(h http.Header, name, want string) bool {
	for _, v := range h.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), want) {
				return true
			}
		}
	}
	return false
}

func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}

// originAllowed applies allowed_origins. Sockets carry no cookies, so the default is everybody; a request
// without Origin does not come from a page.
func (g *Gateway) originAllowed(origin string) bool {
	if origin == "" || len(g.opts.AllowedOrigins) == 0 {
		return true
	}
	for _, o := range g.opts.AllowedOrigins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	return false
}

// upgrade makes a session of the connection: token, handshake, and a goroutine that reads it.
func (g *Gateway) upgrade(c *conn, rest io.Reader, r *http.Request) {
	var identity protocol.Identity
	var authErr error
	// The SDK offers the raw token as the only subprotocol and needs it back byte for byte; who offers none
	// must get none (xano-realtime.md 4.2).
	if token := offered(r.Header); token != "" {
		ctx, cancel := context.WithTimeout(g.ctx, g.opts.HandshakeTimeout)
		identity, authErr = g.auth.Authenticate(ctx, token)
		cancel()
		if errors.Is(authErr, ErrAuthUnavailable) {
			// Perhaps a good token: rather come again than be somebody else.
			g.metrics.refused.WithLabelValues("auth_unavailable").Inc()
			refusal{status: http.StatusServiceUnavailable, code: "auth_unavailable", text: "The token cannot be checked now. Try again.",
				retryAfter: retryAfter}.write(c)
			return
		}
		c.greeting = []byte("Sec-WebSocket-Protocol: " + token + "\r\n")
	}
	server := g.settings.Current().ByHash(strings.TrimPrefix(r.URL.Path, "/rt/"))
	s := &Session{gw: g, id: g.newSessionID(), conn: c, opened: time.Now().UnixMilli()}
	s.heard.Store(s.opened)
	if authErr != nil || !identity.Authenticated {
		s.identity.Store(&g.anonymous)
	} else {
		s.identity.Store(&identity)
	}
	_ = c.SetDeadline(time.Time{})
	// gws looks at the first line and at the whole value of each; refuse has looked at all of them.
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	socket, err := g.upgrader.UpgradeFromConn(c, bufio.NewReaderSize(rest, readBuffer), r)
	if err != nil {
		g.metrics.refused.WithLabelValues("handshake").Inc()
		c.finish()
		return
	}
	s.socket = socket
	socket.Session().(*sessionRef).session = s
	if server == nil || !server.Enabled {
		g.turnAway(s)
		return
	}
	s.server = server.ID
	g.add(s)
	if g.opts.SocketsPerAddress > 0 {
		s.address = host(r.RemoteAddr)
		g.mu.Lock()
		g.addresses[s.address]++
		g.mu.Unlock()
	}
	g.metrics.accepted.Inc()
	if authErr != nil {
		s.fail("", "", authProblem(authErr))
	}
	// Settings or the drain may have come between the look and the adding.
	if now := g.settings.Current().ByID(s.server); now == nil || !now.Enabled || now.Hash != server.Hash {
		s.fail("", "", protocol.ErrUnknownHash)
		s.close(protocol.CloseGoAway, "unknown connection hash", reasonHash)
	}
	g.work.Go(s.read)
}

// read is the socket's reader, on a fresh stack. gws panics on some malformed lengths (a 64-bit one that is
// negative as an int); frames are processed elsewhere (workers), so what is recovered here is the parser's.
func (s *Session) read() {
	defer s.conn.finish()
	defer func() {
		if broken := recover(); broken != nil {
			_ = s.conn.write(closeFrame(1002, "protocol error"))
			_ = s.conn.Close()
			s.closed(fmt.Errorf("malformed frame: %v", broken))
		}
	}()
	s.socket.ReadLoop()
}

// turnAway tells the client that its address is unknown and ends it for good: 4401 stops stock clients from
// trying for ever (xano-realtime.md 12.9).
func (g *Gateway) turnAway(s *Session) {
	s.turnedAway = true
	s.fail("", "", protocol.ErrUnknownHash)
	g.metrics.refused.WithLabelValues("unknown_hash").Inc()
	g.work.Go(s.read)
	s.close(protocol.CloseGoAway, "unknown connection hash", reasonHash)
}

// offered gives the subprotocol the client offers; the first one if there are several.
func offered(h http.Header) string {
	first, _, _ := strings.Cut(h.Get("Sec-WebSocket-Protocol"), ",")
	return strings.TrimSpace(first)
}

// authProblem is what a client with a token we cannot use is told. It stays, as an anonymous one.
func authProblem(err error) *protocol.Error {
	if errors.Is(err, ErrTokenExpired) {
		return &protocol.Error{Code: protocol.CodeTokenExpired, Message: "Authentication failed."}
	}
	return &protocol.Error{Code: protocol.CodeAuthenticationError, Message: "Authentication failed."}
}

// ErrAuthUnavailable is to be wrapped by an Authenticator that cannot check a token now but may later: the
// upgrade is answered 503.
var ErrAuthUnavailable = errors.New("tokens cannot be checked now")

// ErrTokenExpired is to be wrapped by an Authenticator for a token that was good once.
var ErrTokenExpired = errors.New("token has expired")

// limiter bounds upgrades per second; nil limits nothing.
type limiter struct{ *rate.Limiter }

func newLimiter(perSecond int) *limiter {
	if perSecond <= 0 {
		return nil
	}
	return &limiter{rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

func (l *limiter) allow() bool { return l == nil || l.Allow() }

// events are the callbacks of gws.
type events struct{ gws.BuiltinEventHandler }

// sessionRef is the session storage gws wants for each socket, reduced to the one thing we keep there.
type sessionRef struct{ session *Session }

func (*sessionRef) Len() int                        { return 1 }
func (*sessionRef) Load(string) (any, bool)         { return nil, false }
func (*sessionRef) Delete(string)                   {}
func (*sessionRef) Store(string, any)               {}
func (*sessionRef) Range(func(string, any) bool)    {}
func sessionOf(socket *gws.Conn) *Session           { return socket.Session().(*sessionRef).session }
func (*events) OnPing(socket *gws.Conn, p []byte)   { sessionOf(socket).hear(); _ = socket.WritePong(p) }
func (*events) OnPong(socket *gws.Conn, _ []byte)   { sessionOf(socket).hear() }
func (*events) OnClose(socket *gws.Conn, err error) { sessionOf(socket).closed(err) }

func (*events) OnMessage(socket *gws.Conn, m *gws.Message) {
	s := sessionOf(socket)
	if !s.turnedAway {
		s.conn.awaitRoom()
		s.gw.workers.run(s, m)
	}
	_ = m.Close()
}

func (s *Session) hear() { s.heard.Store(time.Now().UnixMilli()) }

func (s *Session) closed(err error) {
	if !s.turnedAway {
		s.end(err)
	}
}

func newUpgrader(g *Gateway) *gws.Upgrader {
	return gws.NewUpgrader(&events{}, &gws.ServerOption{
		ReadBufferSize:     readBuffer,
		ReadMaxPayloadSize: 16 * g.opts.Limits.MessageBytes,
		HandshakeTimeout:   max(g.opts.HandshakeTimeout, time.Second),
		NewSession:         func() gws.SessionStorage { return &sessionRef{} },
		Recovery:           func(gws.Logger) {}, // a panic ends the process: it is a bug, and hiding it loses messages
		Logger:             quiet{},
	})
}

// quiet keeps gws from writing to the standard log; its errors reach us through OnClose.
type quiet struct{}

func (quiet) Error(...any) {}
