// Package node is the composition root: it builds every part of a gateway, starts them in order and stops them
// in the opposite one. It holds no rules of its own; what it adds is which part talks to which (ports.go) and
// what the HTTP API needs from all of them together (backend.go).
package node

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fanfare/broker"
	"fanfare/gateway"
	"fanfare/history"
	"fanfare/internal/api"
	"fanfare/internal/auth"
	"fanfare/internal/config"
	"fanfare/internal/consoleapi"
	"fanfare/internal/forwarded"
	"fanfare/internal/ops"
	"fanfare/internal/policy"
	"fanfare/internal/settings"
	"fanfare/internal/tlsfile"
	"fanfare/internal/tracing"
	"fanfare/internal/trigger"
	"fanfare/lifecycle"
	"fanfare/presence"
	"fanfare/protocol"
)

// Options is what a node needs besides its configuration.
type Options struct {
	Logger  *slog.Logger
	Dev     bool   // the demo server, page and channels
	Version string // and Commit: what the linker was told; empty = what the Go command noted
	Commit  string
	Stdout  io.Writer
	// Embedded is asked for a broker where the configuration names none.
	Embedded NewEmbedded
}

// NewEmbedded makes the broker of a node that stores under dataDir, with sync as in broker.sync, and starts nothing.
// It is handed in, as natsd.NewEmbedded, so that only the command links the NATS server.
type NewEmbedded func(dataDir, sync string, log *slog.Logger) (Embedded, error)

// Embedded is a broker inside this process; natsd.Embedded is one.
type Embedded interface {
	Start(ctx context.Context) error
	Close()
	Healthy() error
	MayHaveLost() bool
	InProcessConn() (net.Conn, error)
	Collector() prometheus.Collector
}

// Node is one gateway, with its broker when that is embedded.
type Node struct {
	cfg  config.Config
	opts Options
	log  *slog.Logger
	id   protocol.NodeID
	reg  *prometheus.Registry

	gateway  *gateway.Gateway
	verifier *auth.Verifier
	caller   *trigger.Caller
	cert     *tlsfile.Pair   // nil without TLS
	tracer   *tracing.Tracer // nil without tracing
	proxies  forwarded.Proxies
	embedded Embedded // nil with an external broker
	client   *broker.Client
	broker   *broker.Broker
	history  *history.Store
	presence *presence.Directory
	settings *settings.Store
	peers    *peers
	// measure reads the metrics for the consoles of all gateways; set by console.
	measure func() (consoleapi.Measures, error)
	// lifecycle is nil when it is off.
	lifecycle *lifecycle.Log
	changes   chan change

	addr  atomic.Value                  // string
	stage atomic.Value                  // string: what the start has come to, for the probes
	link  atomic.Pointer[broker.Client] // client, for the probes; nil before it has connected
	http  atomic.Pointer[http.Handler]  // nil while starting
	api   *api.API
}

// New builds what needs no I/O beyond reading certificate and key files, and starts nothing.
func New(cfg config.Config, o Options) (*Node, error) {
	n := &Node{
		cfg: cfg, opts: o, log: o.Logger, id: newNodeID(), reg: prometheus.NewRegistry(),
		changes: make(chan change, maxChanges),
	}
	n.stage.Store("broker")
	n.log = n.log.With("node", n.id)
	synced := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fanfare_broker_sync_interval_seconds",
		Help: "How long acknowledged messages may wait to be synced to the embedded broker's disk; 0 = not at all.",
	})
	synced.Set(cfg.Broker.Sync.Interval().Seconds())
	n.reg.MustRegister(synced)
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	l := cfg.Limits
	limits := protocol.DefaultLimits()
	limits.MessageBytes, limits.ChannelBytes, limits.ChannelSegments = l.MessageBytes, l.ChannelBytes, l.ChannelSegments
	limits.Channels, limits.JSONDepth, limits.HistoryFrames = l.ChannelsPerSocket, l.JSONDepth, l.HistoryFrames
	limits.FramesPerSecond, limits.FramesBurst = l.FramesPerSecond, l.FramesBurst
	var err error
	if cfg.Tracing.Endpoint != "" {
		n.tracer, err = tracing.New(tracing.Options{
			Endpoint: cfg.Tracing.Endpoint, Ratio: cfg.Tracing.Ratio, Node: n.id, Version: o.Version,
			Registerer: n.reg, Logger: n.log,
		})
		if err != nil {
			return nil, err
		}
	}
	n.gateway = gateway.New(gateway.Options{
		Node: n.id, Limits: limits, IOURing: cfg.IOURing == "auto", BacklogBytes: l.BacklogBytes, WriteTimeout: l.WriteTimeout, FlushInterval: l.FlushInterval,
		HandshakeTimeout: l.HandshakeTimeout, PingInterval: l.PingInterval, PongTimeout: l.PongTimeout,
		Sockets: l.Sockets, SocketsPerAddress: l.SocketsPerAddress, UpgradesPerSecond: l.UpgradesPerSecond,
		AllowedOrigins: cfg.AllowedOrigins, Registerer: n.reg, Logger: n.log, Tracer: n.tracer,
	})
	cache := ""
	if cfg.Auth.JWKSURL != "" {
		cache = filepath.Join(cfg.DataDir, "jwks.json")
	}
	n.verifier, err = auth.New(auth.Options{
		JWTSecret: cfg.Auth.JWTSecret.Reveal(), JWKSURL: cfg.Auth.JWKSURL, JWEKey: cfg.Auth.JWEKey.Reveal(),
		Issuer: cfg.Auth.Issuer, Audience: cfg.Auth.Audience,
		Claims:    auth.Claims{DboID: cfg.Auth.Claims.DboID, RowID: cfg.Auth.Claims.RowID, Extras: cfg.Auth.Claims.Extras},
		CacheFile: cache, Registerer: n.reg, Logger: n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	n.caller, err = trigger.New(trigger.Options{AllowPrivate: cfg.Triggers.AllowPrivate, Registerer: n.reg, Logger: n.log})
	if err != nil {
		return nil, fmt.Errorf("triggers: %w", err)
	}
	if cfg.TLS.Enabled() {
		n.cert, err = tlsfile.New(tlsfile.Options{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, Logger: n.log, Registerer: n.reg})
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	if n.proxies, err = forwarded.Parse(cfg.TrustedProxies); err != nil {
		return nil, fmt.Errorf("trusted_proxies: %w", err)
	}
	if cfg.NATS.Embedded() {
		if o.Embedded == nil {
			return nil, errors.New("no broker is embedded and nats.urls is empty")
		}
		n.embedded, err = o.Embedded(cfg.DataDir, cfg.Broker.Sync.String(), n.log)
		if err != nil {
			return nil, fmt.Errorf("embedded broker: %w", err)
		}
		if err := n.reg.Register(n.embedded.Collector()); err != nil {
			return nil, fmt.Errorf("embedded broker: %w", err)
		}
	}
	return n, nil
}

// newNodeID makes the name of this run: eight characters that are a token in subjects and keys.
func newNodeID() protocol.NodeID {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	return protocol.NodeID(strings.ToLower(base32.StdEncoding.EncodeToString(b[:])))
}

// Addr is the public listener's address, empty until Run listens.
func (n *Node) Addr() string {
	a, _ := n.addr.Load().(string)
	return a
}

// Registry has the node's metrics.
func (n *Node) Registry() *prometheus.Registry { return n.reg }

// Gateway is the node's gateway, for tests.
func (n *Node) Gateway() *gateway.Gateway { return n.gateway }

// startTimeout bounds the start of the embedded broker and the first look at streams and buckets.
const startTimeout = 60 * time.Second

// Run serves until ctx ends, then drains: readiness off, sockets sent away over the window, presence handed
// over, what is being published finished, the broker closed, the metrics last. Its error is nil after an
// orderly end.
func (n *Node) Run(ctx context.Context) error {
	ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", n.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// Everything outlives ctx until its turn in the shutdown comes.
	parts := newParts(context.WithoutCancel(ctx))
	defer parts.stopAll()
	opsPart, err := n.startOps(parts)
	if err != nil {
		_ = ln.Close()
		return err
	}
	front := &gateway.Front{Gateway: n.gateway, Handler: http.HandlerFunc(n.serveHTTP), Address: n.proxies.Client, Logger: n.log}
	if n.cert != nil {
		front.TLS = n.cert.Config()
		parts.start("certificate", n.cert.Run)
	}
	frontPart := parts.start("listener", func(ctx context.Context) error { return front.Serve(ctx, ln, 5*time.Second) })
	n.addr.Store(ln.Addr().String())

	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	stopWatch := context.AfterFunc(parts.ctx, cancel)
	err = n.startParts(startCtx, parts)
	stopWatch()
	cancel()
	if err == nil {
		n.log.Info("ready", "addr", n.Addr(), "broker", n.brokerName(), "sync", n.cfg.Broker.Sync.String())
		select {
		case <-ctx.Done():
		case <-parts.ctx.Done():
		}
	} else if ctx.Err() != nil {
		err = nil // asked to stop while starting
	}
	if failed := parts.failure(); failed != nil {
		err = failed // whatever else went wrong went wrong because of it
	}
	n.shutdown(context.WithoutCancel(ctx), parts, frontPart, opsPart, err != nil)
	return err
}

func (n *Node) brokerName() string {
	if n.embedded != nil {
		return "embedded"
	}
	return "external"
}

// startParts brings up everything behind the listener, in the order of who needs whom.
func (n *Node) startParts(ctx context.Context, parts *parts) (failed error) {
	if n.embedded != nil {
		if err := n.embedded.Start(ctx); err != nil {
			return fmt.Errorf("embedded broker: %w", err)
		}
	}
	var err error
	if n.client, err = connect(ctx, n.cfg, n.embedded, "fanfare "+string(n.id), n.log); err != nil {
		return err
	}
	n.link.Store(n.client)
	ctx, explain := untilDenied(ctx, n.client)
	defer explain(&failed)
	if n.history, err = history.New(history.Options{
		Control: n.client.Control(), Reads: n.client.Reads(), Replicas: n.cfg.NATS.Replicas, Registerer: n.reg, Logger: n.log,
		MayHaveLost: n.embedded != nil && n.embedded.MayHaveLost(),
	}); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if n.broker, err = broker.New(broker.Options{
		Client: n.client, Node: n.id, Solo: n.embedded != nil, Backfill: n.history, Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	shards := presenceShards
	if n.embedded != nil {
		shards = 1
	}
	if n.presence, err = presence.New(presence.Options{
		Conn: n.client.Control(), Node: n.id, Addr: n.Addr(), Replicas: n.cfg.NATS.Replicas, Shards: shards, Solo: n.embedded != nil,
		MaxSegments: n.cfg.Limits.ChannelSegments, Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	so := settings.Options{
		Conn: n.client.Control(), Replicas: n.cfg.NATS.Replicas, Registerer: n.reg, Logger: n.log,
		Limits: policy.Limits{ChannelBytes: n.cfg.Limits.ChannelBytes, ChannelSegments: n.cfg.Limits.ChannelSegments},
	}
	if n.cfg.SettingsFile != "" {
		so.Conn, so.File = nil, n.cfg.SettingsFile
	}
	if n.settings, err = settings.New(so); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"history", n.history.Ensure}, {"presence", n.presence.Ensure}, {"settings", n.settings.Ensure}} {
		n.stage.Store(step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	n.stage.Store("lifecycle")
	if n.lifecycle, err = n.newLifecycle(); err != nil {
		return fmt.Errorf("lifecycle: %w", err)
	}
	if n.lifecycle != nil {
		if err := n.lifecycle.Ensure(ctx); err != nil {
			return fmt.Errorf("lifecycle: %w", err)
		}
	}
	n.stage.Store("settings")
	if n.opts.Dev && n.cfg.SettingsFile == "" {
		if err := n.demoSettings(ctx); err != nil {
			return err
		}
	}
	if err := n.settings.Load(ctx); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	n.settings.OnChange(n.gateway.Reapply)
	n.settings.OnChange(func(old, now *policy.Book) { n.changes <- change{old, now} })
	n.peers = &peers{self: n.id, broker: n.broker, directory: n.presence, gateway: n.gateway}
	n.broker.Handle(verbPrivate, n.peers.answerPrivate)
	n.broker.Handle(verbDisconnect, n.peers.answerDisconnect)
	n.broker.Handle(verbOccupancy, n.peers.answerOccupancy)
	n.broker.Handle(verbLoad, n.answerLoad)
	n.broker.Handle(verbSockets, n.peers.answerSockets)
	n.broker.Handle(verbTraces, n.peers.answerTraces)
	if err := n.mountHTTP(); err != nil {
		return err
	}
	if n.tracer != nil {
		parts.start("tracing", n.tracer.Run) // the first to start is the last to stop: it sends what a drain caused
	}
	parts.start("tokens", n.verifier.Run)
	parts.start("history", n.history.Run)
	parts.start("broker", n.broker.Run)
	parts.start("presence", n.presence.Run)
	n.stage.Store("presence")
	if err := n.presence.Ready(ctx); err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	n.stage.Store("gateway")
	ports := gateway.Ports{
		Broker: brokerPort{n.broker, n.history, n.settings}, History: historyPort{n.history}, Presence: presencePort{n.presence},
		Authenticator: authPort{n.verifier}, Triggers: triggerPort{n.caller}, Peers: n.peers, Settings: n.settings,
	}
	if n.lifecycle != nil {
		parts.start("lifecycle", n.lifecycle.Run)
		ports.Lifecycle = lifecyclePort{n.lifecycle}
	}
	parts.start("gateway", func(ctx context.Context) error { return n.gateway.Run(ctx, ports) })
	parts.start("histories", n.clearHistories)
	parts.start("settings", n.settings.Run)
	if n.embedded == nil {
		parts.start("connection watch", n.watchConnection)
	}
	return nil
}

// shutdown stops everything in order. hasty: something failed, clients are not sent away over a window.
func (n *Node) shutdown(ctx context.Context, parts *parts, front, opsPart *part, hasty bool) {
	window := n.cfg.Drain
	if hasty {
		window = 0
	}
	n.gateway.StartDrain()
	if n.presence != nil {
		n.presence.Handover(presenceGrace)
	}
	if n.api != nil {
		n.api.Drain()
	}
	drainCtx, cancel := context.WithTimeout(ctx, window+protocol.PublishDeadline+3*time.Second)
	defer cancel()
	n.log.Info("draining", "window", window, "sessions", len(n.gateway.Sessions(nil)))
	n.gateway.Drain(drainCtx, window)
	front.stop()
	n.gateway.Close()
	tidy, cancelTidy := context.WithTimeout(ctx, 5*time.Second)
	defer cancelTidy()
	if n.presence != nil && hasStarted(parts, "presence") {
		grace := presenceGrace
		if n.embedded != nil {
			grace = 0 // nobody is left to see it
		}
		if err := n.presence.Drain(tidy, grace); err != nil {
			n.log.Warn("presence could not be handed over", "err", err)
		}
	}
	if n.broker != nil && hasStarted(parts, "broker") {
		if err := n.broker.Flush(tidy); err != nil {
			n.log.Warn("publications are unanswered", "err", err)
		}
	}
	parts.stopAllBut(opsPart)
	n.caller.Close()
	if n.client != nil {
		n.client.Close()
	}
	if n.embedded != nil {
		n.embedded.Close()
	}
	opsPart.stop()
	n.log.Info("stopped")
}

// presenceGrace is how long the entries of a gateway that stops stay for those who come straight back.
const presenceGrace = 10 * time.Second

// When a gateway that is cut from its broker says so and sends its clients elsewhere (nats.md 6).
const (
	cutUnready  = 3 * time.Second
	cutSendAway = 15 * time.Second
	cutWindow   = 5 * time.Second
)

// watchConnection sends the clients away when the broker has been out of reach for long.
func (n *Node) watchConnection(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if up, since := n.client.Connected(); !up && time.Since(since) > cutSendAway && len(n.gateway.Sessions(nil)) > 0 {
			n.log.Error("cut from the broker: clients are sent to other gateways", "duration", time.Since(since))
			n.gateway.SendAway(ctx, cutWindow, func() bool { up, _ := n.client.Connected(); return up })
		}
	}
}

func (n *Node) startOps(parts *parts) (*part, error) {
	if n.cfg.OpsListen == "" {
		return parts.start("operations", func(ctx context.Context) error { <-ctx.Done(); return nil }), nil
	}
	o := ops.Options{
		Listen: n.cfg.OpsListen, Gatherer: n.reg, Registerer: n.reg, Build: ops.ReadBuild(n.opts.Version, n.opts.Commit),
		Pprof: n.cfg.OpsPprof, Logger: n.log,
		Checks: []ops.Check{{Name: "gateway", Probe: n.probeGateway}, {Name: "broker", Probe: n.probeBroker}},
	}
	if n.embedded != nil && !n.cfg.Broker.Sync.Always() {
		o.Notes = append(o.Notes, ops.Note{Name: "broker.sync", Text: "stored messages are synced to disk every " +
			n.cfg.Broker.Sync.String() + ": a power failure may lose what was acknowledged since"})
		n.log.Warn("broker.sync is weaker than always: a power failure may lose acknowledged messages", "sync", n.cfg.Broker.Sync.String())
	}
	server, err := ops.New(o)
	if err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	return parts.start("operations", server.Run), nil
}

func (n *Node) probeGateway(context.Context) error {
	switch {
	case n.gateway.Draining():
		return errors.New("draining")
	case !n.gateway.Ready():
		return fmt.Errorf("starting: %s", n.stage.Load())
	}
	return nil
}

func (n *Node) probeBroker(context.Context) error {
	client := n.link.Load()
	if client == nil {
		return errors.New("not connected yet")
	}
	if up, since := client.Connected(); !up && time.Since(since) > cutUnready {
		return fmt.Errorf("not connected for %s", time.Since(since).Round(time.Second))
	}
	return nil
}

// parts are the goroutines of a node. The first that ends by itself with an error ends the node.
type parts struct {
	ctx    context.Context // ends when a part has failed
	fail   context.CancelCauseFunc
	parent context.Context
	mu     sync.Mutex
	list   []*part
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

func newParts(ctx context.Context) *parts {
	p := &parts{parent: ctx}
	p.ctx, p.fail = context.WithCancelCause(ctx)
	return p
}

func (p *parts) start(name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(p.parent)
	one := &part{name: name, cancel: cancel, done: make(chan struct{})}
	p.mu.Lock()
	p.list = append(p.list, one)
	p.mu.Unlock()
	go func() {
		defer close(one.done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	return one
}

// stop ends a part and waits for it. Idempotent.
func (o *part) stop() {
	o.cancel()
	<-o.done
}

func (p *parts) failure() error {
	if p.ctx.Err() == nil {
		return nil
	}
	return context.Cause(p.ctx)
}

// stopAllBut ends the parts in the opposite order of their start.
func (p *parts) stopAllBut(keep *part) {
	p.mu.Lock()
	list := append([]*part(nil), p.list...)
	p.mu.Unlock()
	for _, l := range slices.Backward(list) {
		if l != keep {
			l.stop()
		}
	}
}

func (p *parts) stopAll() {
	p.stopAllBut(nil)
	p.fail(nil)
}

func hasStarted(p *parts, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.list {
		if o.name == name {
			return true
		}
	}
	return false
}
