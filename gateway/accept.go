package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"fanfare/protocol"
)

// readBuffer is the reader each socket keeps; larger frames are read past it.
const readBuffer = 256

// upgrade makes a session of the connection, and starts the goroutine that reads it.
func (g *Gateway) upgrade(c *conn, rest io.Reader, r *http.Request) {
	address := host(r.RemoteAddr)
	if no := g.seat(address); no != nil {
		g.metrics.refused.WithLabelValues(no.code).Inc()
		no.write(c)
		return
	}
	if !g.begin() {
		g.leaveSeat(address)
		c.drop()
		return
	}
	s := g.newSession(c, rest, r)
	if s == nil {
		g.leaveSeat(address)
		g.work.Done()
		return
	}
	if g.opts.SocketsPerAddress > 0 {
		s.address = address
	}
	go s.read()
}

// newSession checks the token and shakes hands; nil = there is no session, the connection has ended.
func (g *Gateway) newSession(c *conn, rest io.Reader, r *http.Request) *Session {
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
			refusal{
				status: http.StatusServiceUnavailable, code: "auth_unavailable", text: "The token cannot be checked now. Try again.",
				retryAfter: retryAfter,
			}.write(c)
			return nil
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
	c.waitNoMore()
	// gws looks at the first line and at the whole value of each; refuse has looked at all of them.
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	socket, err := g.upgrader.UpgradeFromConn(c, bufio.NewReaderSize(rest, readBuffer), r)
	if err != nil {
		g.metrics.refused.WithLabelValues("handshake").Inc()
		c.finish()
		return nil
	}
	s.socket = socket
	socket.Session().(*sessionRef).session = s
	if server == nil || !server.Enabled {
		s.turnAway()
		return s
	}
	s.server = server.ID
	g.add(s)
	g.metrics.accepted.Inc()
	if authErr != nil {
		s.fail("", "", authProblem(authErr))
	}
	// Settings may have come between the look and the adding.
	if now := g.settings.Current().ByID(s.server); now == nil || !now.Enabled || now.Hash != server.Hash {
		s.fail("", "", protocol.ErrUnknownHash)
		s.close(protocol.CloseGoAway, "unknown connection hash", reasonHash)
	}
	return s
}

// read is the socket's reader, on a fresh stack of 2 KiB, which ReadLoop just fits into: every frame more on it
// doubles the stack of every socket (TestMemoryOfASocket).
func (s *Session) read() {
	defer s.finish()
	s.socket.ReadLoop()
}

// finish ends a session whose reader has ended. gws panics on some malformed lengths (a 64-bit one that is negative
// as an int); frames are processed elsewhere (workers), so what is recovered here is the parser's.
func (s *Session) finish() {
	if s.working {
		return // a panic while a frame was processed ends the process: hiding it would lose messages
	}
	if broken := recover(); broken != nil {
		_ = s.conn.write(closeFrame(closeProtocol, "protocol error"))
		_ = s.conn.Close()
		s.closed(fmt.Errorf("%w: %v", errMalformed, broken))
	}
	if s.reason == reasonTooLarge || s.reason == reasonProtocol {
		s.conn.discard()
	}
	s.conn.finish()
	s.gw.leaveSeat(s.address)
	s.gw.work.Done()
}

// turnAway tells the client that its address is unknown and ends it for good: 4401 stops stock clients from
// trying for ever (xano-realtime.md 12.9).
func (s *Session) turnAway() {
	s.turnedAway = true
	s.fail("", "", protocol.ErrUnknownHash)
	s.gw.metrics.refused.WithLabelValues("unknown_hash").Inc()
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
