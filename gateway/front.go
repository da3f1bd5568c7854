package gateway

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Front accepts the connections of one listener. Sockets (GET /rt/…) are upgraded here, from a pooled reader
// and without net/http's buffers, because what a connection keeps is what ten thousand of them cost; every
// other request goes to the HTTP handler through an ordinary http.Server on the same address.
//
// A socket that arrives on a connection the http.Server already has (a proxy's keep-alive) is upgraded too:
// mount Gateway.ServeHTTP at /rt/ in the handler.
type Front struct {
	Gateway *Gateway
	Handler http.Handler
	TLS     *tls.Config // nil without TLS
	// Address gives the client's address (as in http.Request.RemoteAddr) from that of the peer and the head of a
	// request for a socket; nil = the peer's. Handler does the same for itself.
	Address func(remote string, h http.Header) string
	Logger  *slog.Logger

	// handshakeLimit is maxHandshakes, or less in tests.
	handshakeLimit int
	plain          handed
}

const (
	requestBuffer   = 4 << 10
	maxRequestBytes = 64 << 10 // tokens are part of the request's head
	// maxHandshakes is how many connections may be in their handshake at once; more are closed: an answer would
	// need what is used up.
	maxHandshakes = 4096
)

var requestReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, requestBuffer) }} //nolint:gochecknoglobals // a pool

// Serve accepts until ctx ends, and then waits for the handshakes and the HTTP requests that are under way, the
// latter for the given grace at most. It closes ln.
func (f *Front) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	f.plain = handed{conns: make(chan net.Conn), done: make(chan struct{}), addr: ln.Addr()}
	server := &http.Server{
		Handler: f.Handler, ReadHeaderTimeout: f.Gateway.opts.HandshakeTimeout, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxRequestBytes, ErrorLog: slog.NewLogLogger(f.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(&f.plain) }()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	crew := crew{most: cmp.Or(f.handshakeLimit, maxHandshakes), jobs: make(chan net.Conn), work: func(nc net.Conn) { f.handshake(ctx, nc) }}
	pause := time.Duration(0)
	var failed error
	for {
		nc, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			if !temporary(err) {
				failed = fmt.Errorf("accept: %w", err)
				break
			}
			// Out of descriptors, most likely: others must end first.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			f.Logger.Warn("connection cannot be accepted", "err", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		if !crew.do(nc) {
			f.Gateway.metrics.refused.WithLabelValues("handshakes").Inc()
			_ = nc.Close()
		}
	}
	_ = ln.Close()
	crew.close()
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(sctx); err != nil {
		_ = server.Close()
	}
	_ = f.plain.Close()
	if err := <-served; failed == nil && !errors.Is(err, http.ErrServerClosed) {
		failed = err
	}
	return failed
}

func temporary(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && (ne.Timeout() || strings.Contains(err.Error(), "too many open files") ||
		strings.Contains(err.Error(), "connection aborted"))
}

// handshake reads the first request's head of a connection and sends the connection where it belongs.
func (f *Front) handshake(ctx context.Context, nc net.Conn) {
	g := f.Gateway
	c := g.newConn(nc)
	c.patience = g.opts.HandshakeTimeout
	if f.TLS != nil {
		c.wait()
		c.tls = tls.Server((*transport)(c), f.TLS)
		if err := c.tls.HandshakeContext(ctx); err != nil {
			g.metrics.refused.WithLabelValues("tls").Inc()
			c.drop()
			return
		}
	}
	br := requestReaders.Get().(*bufio.Reader)
	limit := &io.LimitedReader{R: (*greeter)(c), N: maxRequestBytes}
	br.Reset(limit)
	head, err := br.Peek(len("GET /rt/"))
	if err != nil && len(head) == 0 {
		c.drop()
		return
	}
	if string(head) != "GET /rt/" {
		limit.N = 1 << 62
		c.waitNoMore()
		c.setBlocking(true)
		if !f.plain.give(&peeked{conn: c, br: br}) {
			c.drop()
		}
		return
	}
	r, err := http.ReadRequest(br)
	if err != nil {
		no := refusal{status: http.StatusBadRequest, code: "bad_request", text: "The request cannot be read."}
		if limit.N <= 0 {
			no = refusal{status: http.StatusRequestHeaderFieldsTooLarge, code: "header_too_large", text: "The request's head is too large."}
		}
		g.metrics.refused.WithLabelValues(no.code).Inc()
		no.write(c)
		return
	}
	r.RemoteAddr = nc.RemoteAddr().String()
	if f.Address != nil {
		r.RemoteAddr = f.Address(r.RemoteAddr, r.Header)
	}
	var rest io.Reader = c
	if c.tls == nil {
		rest = newReader(nc)
	}
	if n := br.Buffered(); n > 0 { // frames sent before our answer
		early, _ := br.Peek(n)
		rest = io.MultiReader(strings.NewReader(string(early)), rest)
	}
	br.Reset(nil)
	requestReaders.Put(br)
	g.accept(c, rest, r)
}

// peeked is a connection whose first bytes were read already.
type peeked struct {
	*conn
	br *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.br != nil {
		if p.br.Buffered() > 0 {
			return p.br.Read(b)
		}
		p.br.Reset(nil)
		requestReaders.Put(p.br)
		p.br = nil
	}
	return p.conn.Read(b)
}

// SetDeadline is for the http.Server; conn's own is for gws.
func (p *peeked) SetDeadline(t time.Time) error { return p.Conn.SetDeadline(t) } //nolint:wrapcheck // a connection's own

// Close ends the connection for good: HTTP has no closing handshake.
func (p *peeked) Close() error {
	err := p.conn.Close()
	p.finish()
	return err
}

// Write blocks until the connection can take more, as net/http expects; a socket's writes never do (with TLS see
// conn.blocking).
func (p *peeked) Write(b []byte) (int, error) {
	if p.tls != nil {
		return p.conn.tls.Write(b)
	}
	return p.Conn.Write(b)
}

// handed is the listener of the http.Server: it gets the connections that are not sockets.
type handed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func (h *handed) give(nc net.Conn) bool {
	select {
	case h.conns <- nc:
		return true
	case <-h.done:
		return false
	}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.addr }
