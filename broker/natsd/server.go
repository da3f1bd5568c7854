package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// ErrStandaloneStore is what Run returns when a data directory was filled by a broker without a cluster: NATS
// would start an empty cluster beside what is there.
var ErrStandaloneStore = errors.New("data directory holds the store of a broker without a cluster; see docs/operations/migration.md")

// ServerOptions say where a Server listens, who its peers are and how it stores.
type ServerOptions struct {
	Name          string   // unique in the cluster; default the host's name
	Listen        string   // for gateways; port 0 picks one
	ClusterListen string   // for peers; empty = no cluster
	ClusterName   string   // the same on all peers
	Routes        []string // URLs of peers, its own may be among them
	DataDir       string
	// Sync is SyncAlways or an interval such as "1s", which is what a power failure of all nodes may cost then.
	Sync string
	// MaxStore bounds the stored bytes; default 64 GiB.
	MaxStore int64
	// LameDuck is the window over which a stopping server sends its clients away, after its leaders have moved.
	// 0 = they are cut together.
	LameDuck time.Duration
	// Passwords are what gateways may sign in with; none = anybody.
	Passwords []string
	// ClusterPasswords are the same for peers; the first is what this one shows.
	ClusterPasswords []string
	TLS              TLSFiles // none = plain text
	Logger           *slog.Logger
}

// Limits of a server. Each gateway has a handful of connections.
const (
	maxConns = 64 << 10
	// lameDuckGrace is the most that NATS waits between telling its clients and closing the first.
	lameDuckGrace = 10 * time.Second
)

// Server is a NATS server with JetStream that listens on ports of its own: a broker for gateways in other
// processes, alone or in a cluster.
type Server struct {
	o   ServerOptions
	log *slog.Logger
	nso *server.Options
	srv atomic.Pointer[server.Server] // nil while it does not run

	mu       sync.Mutex // guards what follows
	caughtUp bool
	draining bool
}

// NewServer checks the options and starts nothing.
func NewServer(o ServerOptions) (*Server, error) {
	s := &Server{o: o, log: orDiscard(o.Logger)}
	if o.DataDir == "" {
		return nil, errors.New("broker: no data directory")
	}
	if s.o.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("broker name: %w", err)
		}
		s.o.Name = name
	}
	always, every, err := parseSync(o.Sync)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	s.nso = &server.Options{
		ServerName:             s.o.Name,
		NoSigs:                 true,
		MaxConn:                maxConns,
		MaxPayload:             MaxPayload,
		MaxPending:             maxPending,
		WriteDeadline:          10 * time.Second,
		PingInterval:           10 * time.Second,
		MaxPingsOut:            2,
		JetStream:              true,
		StoreDir:               o.DataDir,
		JetStreamMaxMemory:     maxMemoryStore,
		JetStreamMaxStore:      o.MaxStore,
		SyncAlways:             always,
		SyncInterval:           every,
		DisableJetStreamBanner: true,
	}
	if s.nso.JetStreamMaxStore <= 0 {
		s.nso.JetStreamMaxStore = defaultMaxStore
	}
	if o.LameDuck > 0 {
		// The configuration file of NATS refuses less than 30 s, the options do not; the grace must be shorter.
		s.nso.LameDuckDuration, s.nso.LameDuckGracePeriod = o.LameDuck, min(lameDuckGrace, o.LameDuck/3)
	}
	if s.nso.Host, s.nso.Port, err = splitListen(o.Listen); err != nil {
		return nil, fmt.Errorf("broker listen: %w", err)
	}
	if o.ClusterListen == "" {
		if len(o.Routes) > 0 {
			return nil, errors.New("broker: routes to peers without an address for them")
		}
		return s, s.secure()
	}
	s.nso.Cluster.Name = o.ClusterName
	// Gateways know the nodes from their own configuration; addresses of pods or behind a NAT would be of no use to them.
	s.nso.Cluster.NoAdvertise = true
	if s.nso.Cluster.Host, s.nso.Cluster.Port, err = splitListen(o.ClusterListen); err != nil {
		return nil, fmt.Errorf("broker cluster_listen: %w", err)
	}
	for _, route := range o.Routes {
		u, err := url.Parse(route)
		if err != nil {
			return nil, errors.New("broker routes: not a URL") // the parser's error would repeat a password
		}
		s.nso.Routes = append(s.nso.Routes, u)
	}
	return s, s.secure()
}

// splitListen gives host and port as NATS has them: -1 picks a port.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err //nolint:wrapcheck // the caller says which address
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, err //nolint:wrapcheck // as above
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = server.DEFAULT_HOST
	}
	return host, port, nil
}

func parseSync(text string) (always bool, every time.Duration, err error) {
	if text == "" || text == SyncAlways {
		return true, 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return false, 0, fmt.Errorf("sync must be %q or a positive duration, not %q", SyncAlways, text)
	}
	return false, d, nil
}

// Run serves until ctx ends. Then its leaders move to other nodes, its clients are sent away over the lame-duck
// window, and the store is closed.
func (s *Server) Run(ctx context.Context) error {
	lock, err := lockDataDir(s.o.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the process ends soon, which unlocks too
	if s.o.ClusterListen != "" {
		if err := refuseStandalone(s.o.DataDir); err != nil {
			return err
		}
	}
	log := &serverLog{log: s.log.With("component", "nats")}
	srv, err := server.NewServer(s.nso.Clone())
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if err := s.waitUp(ctx, srv, log); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while starting
		}
		return fmt.Errorf("broker in %s: %w", s.o.DataDir, err)
	}
	s.srv.Store(srv)
	defer s.srv.Store(nil)
	s.log.Info("broker is up", "name", s.o.Name, "addr", s.Addr(), "cluster", s.o.ClusterName, "cluster_addr", s.ClusterAddr(), "peers", len(s.o.Routes),
		slog.Group("access", s.openness()...))
	ended := make(chan struct{})
	go func() { srv.WaitForShutdown(); close(ended) }()
	select {
	case <-ctx.Done():
	case <-ended:
		return fmt.Errorf("broker stopped by itself: %s", log.fatalText())
	}
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	if s.o.LameDuck > 0 {
		s.log.Info("moving leaders away, then clients", "window", s.o.LameDuck, "clients", srv.NumClients())
		srv.LameDuckShutdown()
	}
	srv.Shutdown() // moves the leaders too
	<-ended
	return nil
}

// waitUp waits until the server accepts connections and has JetStream; not for peers.
func (s *Server) waitUp(ctx context.Context, srv *server.Server, log *serverLog) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if fatal := log.fatalText(); fatal != "" { // NATS would end the process
			return errors.New(fatal)
		}
		if !srv.Running() {
			return errors.New("server stopped while starting")
		}
		if srv.ReadyForConnections(time.Millisecond) && srv.JetStreamEnabled() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Addr is where gateways connect, empty while it does not run.
func (s *Server) Addr() string {
	if srv := s.srv.Load(); srv != nil && srv.Addr() != nil {
		return srv.Addr().String()
	}
	return ""
}

// ClusterAddr is where peers connect, empty without a cluster or while it does not run.
func (s *Server) ClusterAddr() string {
	if srv := s.srv.Load(); srv != nil && srv.ClusterAddr() != nil {
		return srv.ClusterAddr().String()
	}
	return ""
}

// Healthy tells why gateways should not use this server, or nil. It is not healthy before all it stores has caught
// up with its peers once: a rolling restart that waits for it never has two nodes behind. Afterwards a stream
// that lags does not count, or a cluster that catches up would be taken away from its clients.
func (s *Server) Healthy() error {
	srv := s.srv.Load()
	if srv == nil {
		return errors.New("not running")
	}
	s.mu.Lock()
	caughtUp, draining := s.caughtUp, s.draining
	s.mu.Unlock()
	if draining {
		return errors.New("stopping")
	}
	o := &server.HealthzOptions{}
	if caughtUp {
		o.JSMetaOnly = true
	}
	if h := srv.Healthz(o); h.StatusCode != 200 {
		return errors.New(h.Error)
	}
	if srv.JetStreamIsClustered() {
		info, err := srv.Jsz(&server.JSzOptions{})
		if err != nil {
			return fmt.Errorf("jetstream: %w", err)
		}
		if info.Meta == nil || info.Meta.Leader == "" {
			return errors.New("no meta leader is known")
		}
	}
	s.mu.Lock()
	s.caughtUp = true
	s.mu.Unlock()
	return nil
}

func (s *Server) server() *server.Server { return s.srv.Load() }

func (s *Server) dataDir() string { return s.o.DataDir }

// syncInterval is 0 when every message is synced before it is acknowledged.
func (s *Server) syncInterval() time.Duration {
	if s.nso.SyncAlways {
		return 0
	}
	return s.nso.SyncInterval
}

// lockDataDir makes a data directory and claims it for this process.
func lockDataDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: %s", ErrDataDirInUse, dir)
	}
	return lock, nil
}

// refuseStandalone looks for streams of a server that had no cluster.
func refuseStandalone(dir string) error {
	store := filepath.Join(dir, server.JetStreamStoreDir)
	if _, err := os.Stat(filepath.Join(store, server.DEFAULT_SYSTEM_ACCOUNT, "_js_", "_meta_")); err == nil {
		return nil
	}
	streams, err := os.ReadDir(filepath.Join(store, server.DEFAULT_GLOBAL_ACCOUNT, "streams"))
	if err == nil && len(streams) > 0 {
		return fmt.Errorf("%w: %s", ErrStandaloneStore, dir)
	}
	return nil
}
