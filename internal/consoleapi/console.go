package consoleapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

// Options of New.
type Options struct {
	// AdminToken opens the console; empty = sign-in is off.
	AdminToken string
	// API answers /api:meta and /api/v1. It also judges tokens at the sign-in, and slows down who guesses them.
	API http.Handler
	// Look tells what goes on in a realtime server, on all gateways.
	Look func(ctx context.Context, server protocol.ServerID) (Scene, error)
	// Traces asks the gateway that holds a socket where messages spend their time on it, and gives a JSON array, or
	// null. ErrNoGateway: it is gone.
	Traces func(ctx context.Context, q TracesQuery) ([]byte, error)
	// Mint makes a token for a user; nil = there is no secret to sign it with.
	Mint func(MintQuery) (string, error)
	// Gatherer has the node's metrics.
	Gatherer prometheus.Gatherer
	About    About
	Logger   *slog.Logger // may be nil
}

// About is what the console shows about the gateway it talks to.
type About struct {
	Gateway  protocol.NodeID `json:"gateway"`
	Version  string          `json:"version"`
	ReadOnly bool            `json:"read_only"` // the settings come from a file
	Demo     bool            `json:"demo"`      // there is a page at /demo/
	Mint     bool            `json:"mint"`      // tokens can be made
}

// Prefix is where Console answers.
const Prefix = "/console/api/"

// header is on every request of the console's pages.
const header = "X-Fanfare-Console"

const (
	maxBody  = 4096 // of a sign-in; what is handed on has the API's own bound
	lifetime = 12 * time.Hour
)

// Console is the handler of everything below Prefix.
type Console struct {
	o        Options
	log      *slog.Logger
	sessions sessions

	mu       sync.Mutex // one look at the metrics at a time
	measured time.Time
	measures Measures
}

// New makes the handler.
func New(o Options) (*Console, error) {
	if o.API == nil || o.Look == nil || o.Traces == nil || o.Gatherer == nil {
		return nil, errors.New("console: API, Look, Traces and Gatherer are needed")
	}
	o.About.Mint = o.Mint != nil
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Console{o: o, log: o.Logger, sessions: newSessions(o.AdminToken, time.Now)}, nil
}

// problem is an error as the HTTP API writes it.
type problem struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error makes it an error.
func (p *problem) Error() string { return p.Message }

var (
	errOff     = &problem{http.StatusForbidden, "admin_api_off", "Sign-in is off: no admin_token (FANFARE_ADMIN_TOKEN) is configured."}
	errOrigin  = &problem{http.StatusForbidden, "wrong_origin", "This request did not come from the console."}
	errSession = &problem{http.StatusUnauthorized, "signed_out", "You are not signed in, or the session has ended."}
	errToken   = &problem{http.StatusUnauthorized, "unauthorized", "This is not the admin token."}
	errNoPath  = &problem{http.StatusNotFound, "not_found", "There is no such path."}
	errMethod  = &problem{http.StatusMethodNotAllowed, "method_not_allowed", "The method does not go with this path."}
	errBody    = &problem{http.StatusBadRequest, "invalid_body", `The body must be {"token": "…"}.`}
)

// ServeHTTP answers the console's requests.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if err := c.serve(w, r); err != nil {
		p, ok := errors.AsType[*problem](err)
		if !ok {
			c.log.Error("console", "err", err)
			p = &problem{http.StatusInternalServerError, "internal", "Something went wrong here. The log has more."}
		}
		if p.status == http.StatusMethodNotAllowed {
			h.Set("Allow", "GET, POST, DELETE")
		}
		_ = send(w, p.status, p) // of our own, which can be encoded
	}
}

func (c *Console) serve(w http.ResponseWriter, r *http.Request) error {
	switch {
	case !ours(r):
		return errOrigin
	case c.o.AdminToken == "":
		return errOff
	}
	path := strings.TrimPrefix(r.URL.Path, Prefix)
	if path == "session" && r.Method == http.MethodPost {
		return c.signIn(w, r)
	}
	end, ok := c.sessions.check(r)
	if !ok {
		return errSession
	}
	if rest, proxied := strings.CutPrefix(path, "proxy/"); proxied {
		return c.handOn(w, r, rest)
	}
	switch path {
	case "session":
		switch r.Method {
		case http.MethodGet:
			return send(w, http.StatusOK, c.about(end))
		case http.MethodDelete:
			c.sessions.revoke(r)
			http.SetCookie(w, cookie(r, "", -1))
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return errMethod
	case "live":
		if r.Method != http.MethodGet {
			return errMethod
		}
		return c.live(w, r)
	case "traces":
		if r.Method != http.MethodGet {
			return errMethod
		}
		return c.traces(w, r)
	case "mint":
		if r.Method != http.MethodPost {
			return errMethod
		}
		return c.mint(w, r)
	}
	return errNoPath
}

// ours tells whether a request comes from a page of this origin: the header cannot be sent across origins without
// a preflight, which nobody here answers. What the browser says besides must agree.
func ours(r *http.Request) bool {
	if r.Header.Get(header) == "" {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}

type session struct {
	Expires time.Time `json:"expires"`
	About
}

func (c *Console) about(end time.Time) session { return session{Expires: end, About: c.o.About} }

// signIn asks the API about the token: it has the bounds on guessing.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Token string `json:"token"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := d.Decode(&body); err != nil || body.Token == "" || strings.ContainsAny(body.Token, "\r\n") {
		return errBody
	}
	probe := r.Clone(r.Context())
	probe.Method, probe.Body, probe.ContentLength = http.MethodGet, http.NoBody, 0
	probe.URL = &url.URL{Path: "/api:meta/workspace", RawQuery: "limit=1"}
	probe.Header = http.Header{"Authorization": {"Bearer " + body.Token}}
	answer := &heard{header: make(http.Header)}
	c.o.API.ServeHTTP(answer, probe)
	given, want := sha256.Sum256([]byte(body.Token)), sha256.Sum256([]byte(c.o.AdminToken))
	switch {
	case answer.status == http.StatusOK && subtle.ConstantTimeCompare(given[:], want[:]) == 1:
	case answer.status == http.StatusOK, answer.status == http.StatusUnauthorized:
		c.log.Warn("console: sign-in refused", "from", r.RemoteAddr)
		return errToken
	default:
		if after := answer.header.Get("Retry-After"); after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.status)
		_, err := w.Write(answer.body.Bytes())
		return drop(err)
	}
	value, end := c.sessions.make()
	http.SetCookie(w, cookie(r, value, int(lifetime/time.Second)))
	return send(w, http.StatusOK, c.about(end))
}

// handOn lets the API answer, as if the request had carried the admin token.
func (c *Console) handOn(w http.ResponseWriter, r *http.Request, path string) error {
	if !strings.HasPrefix(path, "api:meta/") && !strings.HasPrefix(path, "api/v1/") {
		return errNoPath
	}
	on := r.Clone(r.Context())
	on.URL.Path = "/" + path
	if on.URL.RawPath != "" { // a channel's name may hold an escaped slash
		on.URL.RawPath = "/" + strings.TrimPrefix(r.URL.RawPath, Prefix+"proxy/")
	}
	on.RequestURI = on.URL.RequestURI()
	on.Header.Del("Cookie")
	on.Header.Set("Authorization", "Bearer "+c.o.AdminToken)
	c.o.API.ServeHTTP(w, on)
	return nil
}

func (c *Console) live(w http.ResponseWriter, r *http.Request) error {
	id, err := server(r)
	if err != nil {
		return err
	}
	scene, err := c.o.Look(r.Context(), id)
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, struct {
		Gateway protocol.NodeID `json:"gateway"`
		At      time.Time       `json:"at"`
		Scene
	}{c.o.About.Gateway, time.Now(), scene})
}

func send(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return drop(err)
}

// drop forgets that the reader of an answer has gone away.
func drop(error) error { return nil }

// heard keeps an answer for the one who asked, up to what a sign-in needs.
type heard struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header gives the answer's header.
func (h *heard) Header() http.Header { return h.header }

// WriteHeader notes the status.
func (h *heard) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

// Write keeps the first part of the body.
func (h *heard) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	if room := maxBody - h.body.Len(); room > 0 {
		_, _ = h.body.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

var _ io.Writer = (*heard)(nil)

func server(r *http.Request) (protocol.ServerID, error) {
	id, err := strconv.ParseInt(r.URL.Query().Get("server"), 10, 64)
	if err != nil || id < 1 {
		return 0, &problem{http.StatusBadRequest, "invalid_parameter", "server must be the number of a realtime server."}
	}
	return protocol.ServerID(id), nil
}
