package gateway

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// retryAfter is what a refused client is told to wait, in seconds.
const retryAfter = 2

func (g *Gateway) newConn(nc net.Conn) *conn {
	return &conn{Conn: nc, limits: &g.connLimits, fd: rawFD(nc)}
}

// ServeHTTP upgrades a socket that arrived on a connection of an http.Server.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.AwaitStart(r.Context())
	if no := g.refuse(r); no != nil {
		g.metrics.refused.WithLabelValues(no.code).Inc()
		w.Header().Set("Content-Type", "application/json")
		if no.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(no.retryAfter))
		}
		if no.header != "" {
			w.Header().Set(no.header, no.value)
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
	g.AwaitStart(g.ctx)
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
	case r.Method != http.MethodGet:
		return &refusal{status: http.StatusMethodNotAllowed, code: "method_not_allowed", text: "A socket begins with GET.", header: "Allow", value: "GET"}
	case !r.ProtoAtLeast(1, 1):
		return &refusal{status: http.StatusHTTPVersionNotSupported, code: "http_version", text: "HTTP/1.1 is needed."}
	case !headerHas(r.Header, "Connection", "upgrade") || !headerHas(r.Header, "Upgrade", "websocket"):
		return &refusal{status: http.StatusUpgradeRequired, code: "upgrade_required", text: "This address speaks WebSocket.", header: "Upgrade", value: "websocket"}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return &refusal{status: http.StatusUpgradeRequired, code: "websocket_version", text: "WebSocket version 13 is needed.", header: "Sec-WebSocket-Version", value: "13"}
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

// limiter bounds upgrades per second; nil limits nothing.
type limiter struct{ *rate.Limiter }

func newLimiter(perSecond int) *limiter {
	if perSecond <= 0 {
		return nil
	}
	return &limiter{rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

func (l *limiter) allow() bool { return l == nil || l.Allow() }
