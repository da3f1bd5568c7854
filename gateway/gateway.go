package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/tracing"
	"fanfare/protocol"
)

// Options configure a Gateway.
type Options struct {
	Node   protocol.NodeID
	Limits protocol.Limits

	BacklogBytes      int
	WriteTimeout      time.Duration
	FlushInterval     time.Duration
	HandshakeTimeout  time.Duration
	PingInterval      time.Duration
	PongTimeout       time.Duration
	Sockets           int // 0 = no limit
	SocketsPerAddress int // 0 = no limit
	UpgradesPerSecond int // 0 = no limit
	AllowedOrigins    []string
	// IOURing lets flushes use io_uring when the kernel has it.
	IOURing bool

	Registerer prometheus.Registerer
	Logger     *slog.Logger
	Tracer     *tracing.Tracer // nil = off
}

// Ports are the parts a gateway works with. Peers may be nil: there are no other gateways. So may Lifecycle.
type Ports struct {
	Broker        Broker
	History       History
	Presence      Presence
	Authenticator Authenticator
	Triggers      Triggers
	Peers         Peers
	Settings      Settings
	Lifecycle     Lifecycle
}

// Gateway ends sockets. Make one with New, serve it with a Front, stop it with Drain and Close.
type Gateway struct {
	opts       Options
	log        *slog.Logger
	metrics    *metrics
	connLimits connLimits

	broker   Broker
	history  History
	presence Presence
	auth     Authenticator
	triggers Triggers
	peers    Peers
	settings Settings
	// lifecycle is nil when nobody wants to know; set before the first socket.
	lifecycle Lifecycle

	hub       *Hub
	rings     rings
	workers   workers
	upgrader  *gws.Upgrader
	upgrades  *limiter
	anonymous protocol.Identity

	ctx    context.Context // ends what frames wait for; set by New, ended by Close
	cancel context.CancelFunc
	work   sync.WaitGroup // readers, expiries, closings
	drains sync.WaitGroup // drain goroutines of conns

	draining   atomic.Bool
	ready      atomic.Bool
	started    chan struct{} // closed with ready
	publishing atomic.Int64  // publications not answered yet
	ids        atomic.Uint64

	mu        sync.Mutex
	closed    bool // Close waits for work: nothing may be added
	seats     int  // open sockets and upgrades under way
	sessions  []*Session
	byID      map[protocol.SessionID]*Session
	addresses map[string]int // seats by remote address, when limited

	recent recent
	taps   atomic.Int32 // topics with a tap
}

// New makes a Gateway. It starts nothing; Run does.
func New(o Options) *Gateway {
	g := &Gateway{
		opts: o, log: o.Logger, metrics: newMetrics(o),
		byID: make(map[protocol.SessionID]*Session), started: make(chan struct{}), addresses: make(map[string]int),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // ends with Close, which drains first
	g.connLimits = connLimits{
		backlogBytes: o.BacklogBytes, writeTimeout: o.WriteTimeout, linger: 2 * time.Second,
		drains: &g.drains, metrics: g.metrics,
	}
	g.hub = newHub(g)
	g.rings.least = ringMembers
	g.upgrader = newUpgrader(g)
	g.upgrades = newLimiter(o.UpgradesPerSecond)
	return g
}

// Run accepts sockets from now on and keeps them alive until ctx ends; before it, they are answered 503. It is
// called once.
func (g *Gateway) Run(ctx context.Context, p Ports) error {
	g.broker, g.history, g.presence, g.auth, g.triggers, g.peers, g.settings =
		p.Broker, p.History, p.Presence, p.Authenticator, p.Triggers, p.Peers, p.Settings
	g.lifecycle = p.Lifecycle
	g.useRings()
	if g.begin() {
		g.ready.Store(true)
		close(g.started)
		g.keepAlive(ctx)
		g.work.Done()
	}
	<-ctx.Done()
	return nil
}

// begin adds to what Close waits for; whoever begins calls work.Done. false: Close waits already.
func (g *Gateway) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.work.Add(1)
	}
	return !g.closed
}

// spawn runs f in a goroutine that Close waits for, unless Close waits already.
func (g *Gateway) spawn(f func()) {
	if !g.begin() {
		return
	}
	go func() {
		defer g.work.Done()
		f()
	}()
}

// Close ends all sockets at once and waits for everything the gateway has started. Idempotent.
func (g *Gateway) Close() {
	g.draining.Store(true)
	for _, s := range g.Sessions(nil) {
		s.close(protocol.CloseRestart, "restart", reasonShutdown)
	}
	deadline := time.Now().Add(g.connLimits.linger)
	for len(g.Sessions(nil)) > 0 && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	g.cancel()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for _, s := range g.Sessions(nil) {
		s.conn.drop()
	}
	g.work.Wait()
	g.workers.close()
	g.hub.close()
	g.drains.Wait()
	g.rings.close()
}

// startWait is how long a request that comes while the gateway starts is kept waiting before it is answered 503:
// a start takes a tenth of a second, and who was told to come again takes much longer.
const startWait = 3 * time.Second

// AwaitStart waits until the gateway has started, for a moment at most, or until ctx ends.
func (g *Gateway) AwaitStart(ctx context.Context) {
	if g.ready.Load() {
		return
	}
	timer := time.NewTimer(startWait)
	defer timer.Stop()
	select {
	case <-g.started:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Ready tells whether sockets are accepted.
func (g *Gateway) Ready() bool { return g.ready.Load() && !g.draining.Load() }

// StartDrain refuses new sockets from now on.
func (g *Gateway) StartDrain() { g.draining.Store(true) }

// Draining tells whether StartDrain was called.
func (g *Gateway) Draining() bool { return g.draining.Load() }

// Publishing is how many publications of clients are not answered yet.
func (g *Gateway) Publishing() int64 { return g.publishing.Load() }

// newSessionID makes an unguessable name that begins with the node's.
func (g *Gateway) newSessionID() protocol.SessionID {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return protocol.SessionID(string(g.opts.Node) + base64.RawURLEncoding.EncodeToString(b[:]))
}

// nextID makes a publication's id: unique, because the node's name is.
func (g *Gateway) nextID() string {
	b := make([]byte, 0, 24)
	b = append(b, g.opts.Node...)
	b = append(b, '.')
	return string(strconv.AppendUint(b, g.ids.Add(1), 36))
}

// seat keeps a place for a socket, or says why there is none. It is given back by leaveSeat.
func (g *Gateway) seat(address string) *refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.opts.Sockets > 0 && g.seats >= g.opts.Sockets:
		return &refusal{status: http.StatusServiceUnavailable, code: "sockets", text: "This gateway is full. Try again.", retryAfter: retryAfter}
	case g.opts.SocketsPerAddress > 0 && g.addresses[address] >= g.opts.SocketsPerAddress:
		return &refusal{status: http.StatusTooManyRequests, code: "address_sockets", text: "Too many connections from this address.", retryAfter: retryAfter}
	}
	g.seats++
	if g.opts.SocketsPerAddress > 0 {
		g.addresses[address]++
	}
	return nil
}

func (g *Gateway) leaveSeat(address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seats--
	if g.opts.SocketsPerAddress > 0 {
		if g.addresses[address]--; g.addresses[address] == 0 {
			delete(g.addresses, address)
		}
	}
}

// add takes a session in, whose reader has begun.
func (g *Gateway) add(s *Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.index = len(g.sessions)
	g.sessions = append(g.sessions, s)
	g.byID[s.id] = s
	g.metrics.sessions.Inc()
	s.load = g.metrics.servers.of(s.server)
	s.load.opened()
	g.recordConnect(s)
}

func (g *Gateway) removed(s *Session, why closeReason) {
	g.mu.Lock()
	last := len(g.sessions) - 1
	g.sessions[s.index] = g.sessions[last]
	g.sessions[s.index].index = s.index
	g.sessions[last] = nil
	g.sessions = g.sessions[:last]
	delete(g.byID, s.id)
	g.mu.Unlock()
	g.metrics.sessions.Dec()
	s.load.closed()
	g.metrics.closes.WithLabelValues(closeReasons[why]).Inc()
}

func (g *Gateway) session(id protocol.SessionID) *Session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byID[id]
}

// Sessions gives the open sockets for which keep is true; nil keeps all.
func (g *Gateway) Sessions(keep func(*Session) bool) []*Session {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*Session, 0, len(g.sessions))
	for _, s := range g.sessions {
		if keep == nil || keep(s) {
			out = append(out, s)
		}
	}
	return out
}

// Occupancy gives the channels of a server with members on this node and their number.
func (g *Gateway) Occupancy(server protocol.ServerID) map[protocol.Channel]int {
	out := make(map[protocol.Channel]int)
	g.hub.each(func(t *topic) {
		if t.key.Server != server || t.pattern() {
			return
		}
		t.mu.Lock()
		n := len(t.members)
		t.mu.Unlock()
		if n > 0 {
			out[t.key.Channel] = n
		}
	})
	return out
}

// Disconnect ends sockets of a server on this node: one socket when session is set, otherwise all of a user.
// It tells how many.
func (g *Gateway) Disconnect(server protocol.ServerID, session protocol.SessionID, dbo int64, row protocol.RowID) int {
	list := g.Sessions(func(s *Session) bool {
		return s.server == server && (s.id == session || session == "" && s.Identity().Same(dbo, row))
	})
	for _, s := range list {
		s.close(protocol.CloseGoAway, "disconnected", reasonDisconnected)
	}
	return len(list)
}

// Publish hands over a publication that did not come from a socket: an event of a back end. Its Kind, Origin,
// Accepted, Frame and Splice, and an ID where there is none, are filled in here.
func (g *Gateway) Publish(p *protocol.Publication, data []byte, stored bool, done func(protocol.Receipt, error)) {
	g.PublishExpecting(p, data, func(p *protocol.Publication, done func(protocol.Receipt, error)) {
		g.broker.Publish(p, stored, "", done)
	}, done)
}

// PublishExpecting is Publish with another way to hand over.
func (g *Gateway) PublishExpecting(p *protocol.Publication, data []byte,
	publish func(*protocol.Publication, func(protocol.Receipt, error)), done func(protocol.Receipt, error),
) {
	p.Origin, p.Kind, p.Accepted = g.opts.Node, protocol.KindEvent, time.Now()
	if p.ID == "" {
		p.ID = g.nextID()
	}
	p.Frame, p.Splice = protocol.AppendEvent(make([]byte, 0, 192+len(data)), p.Channel, p.Audience, p.ID, data)
	g.publishing.Add(1)
	publish(p, g.tracePublish(p, time.Time{}, p.Accepted, func(r protocol.Receipt, err error) {
		g.publishing.Add(-1)
		g.hub.acknowledged(p, r)
		done(r, err)
	}))
}

func (h *Hub) close() {
	h.wg.Wait()
	h.each(func(t *topic) {
		t.mu.Lock()
		stop := t.stopView
		t.roster, t.stopView = nil, nil
		t.mu.Unlock()
		if stop != nil {
			stop()
		}
		t.feed.Detach()
		h.forget(t)
	})
}

// String names the gateway in logs.
func (g *Gateway) String() string { return fmt.Sprintf("gateway %s", g.opts.Node) }
