package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// ErrDataDirInUse is what Start returns when another process works in the data directory.
var ErrDataDirInUse = errors.New("data directory is in use by another process")

// SyncAlways is the default of EmbeddedOptions.Sync: every stored message is on disk before it is acknowledged.
const SyncAlways = "always"

// EmbeddedOptions say where and how the embedded broker stores.
type EmbeddedOptions struct {
	DataDir string
	// Sync is SyncAlways or an interval such as "1s", which is what a power failure may cost then.
	Sync string
	// MaxStore bounds the stored bytes; default 64 GiB.
	MaxStore int64
	Logger   *slog.Logger
}

// Limits of the embedded server. A payload may be as long as the largest frame plus its envelope; a gateway's
// connection may lag by maxPending before it is cut.
const (
	defaultMaxStore = 64 << 30
	maxMemoryStore  = 64 << 20 // nothing that must be right is kept there
	MaxPayload      = 8 << 20
	maxPending      = 256 << 20
)

// Embedded is a NATS server with JetStream inside this process, without a listening port. Its methods may be
// called from any goroutine. After Close it can be started again.
type Embedded struct {
	o      EmbeddedOptions
	always bool
	every  time.Duration
	log    *slog.Logger

	mu      sync.Mutex // guards what follows
	srv     *server.Server
	lock    *flock.Flock
	unclean bool
}

// NewEmbedded checks the options and starts nothing.
func NewEmbedded(o EmbeddedOptions) (*Embedded, error) {
	e := &Embedded{o: o, log: orDiscard(o.Logger)}
	if o.DataDir == "" {
		return nil, errors.New("embedded broker: no data directory")
	}
	if e.o.MaxStore <= 0 {
		e.o.MaxStore = defaultMaxStore
	}
	var err error
	if e.always, e.every, err = parseSync(o.Sync); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return e, nil
}

// Start locks the data directory, starts the server and returns when it is ready. On an error nothing is left
// running.
func (e *Embedded) Start(ctx context.Context) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.srv != nil {
		return errors.New("embedded broker is running")
	}
	lock, err := lockDataDir(e.o.DataDir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()

	log := &serverLog{log: e.log.With("component", "nats")}
	srv, err := server.NewServer(e.serverOptions())
	if err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	srv.SetLoggerV2(log, false, false, false)
	unclean, err := e.markRunning()
	if err != nil {
		return err
	}
	srv.Start()
	if err := waitReady(ctx, srv); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		if fatal := log.fatalText(); fatal != "" {
			err = errors.New(fatal)
		}
		return fmt.Errorf("embedded broker in %s: %w", e.o.DataDir, err)
	}
	e.srv, e.lock, e.unclean = srv, lock, unclean
	if !e.always {
		e.log.Warn("stored messages are synced at an interval: a power failure may lose the newest", "interval", e.every)
	}
	return nil
}

func (e *Embedded) serverOptions() *server.Options {
	return &server.Options{
		ServerName:             "fanfare",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               e.o.DataDir,
		JetStreamMaxMemory:     maxMemoryStore,
		JetStreamMaxStore:      e.o.MaxStore,
		SyncAlways:             e.always,
		SyncInterval:           e.every,
		MaxPayload:             MaxPayload,
		MaxPending:             maxPending,
		WriteDeadline:          10 * time.Second,
		DisableJetStreamBanner: true,
	}
}

// runningFile stands in the data directory while a server works there, so that the next start knows whether the
// last run ended in order.
const runningFile = "running"

func (e *Embedded) markRunning() (unclean bool, err error) {
	path := filepath.Join(e.o.DataDir, runningFile)
	if _, err := os.Stat(path); err == nil {
		return true, nil
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return false, fmt.Errorf("data directory: %w", err)
	}
	return false, nil
}

// waitReady waits until the server accepts connections and JetStream works.
func waitReady(ctx context.Context, srv *server.Server) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if !srv.Running() {
			return errors.New("server stopped while starting")
		}
		if srv.ReadyForConnections(time.Millisecond) && srv.JetStreamEnabled() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Close stops the server, waits for it and releases the directory. Close the Client first.
func (e *Embedded) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.srv == nil {
		return
	}
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	if err := os.Remove(filepath.Join(e.o.DataDir, runningFile)); err != nil {
		e.log.Warn("data directory", "err", err)
	}
	if err := e.lock.Close(); err != nil {
		e.log.Warn("data directory", "err", err)
	}
	e.srv, e.lock = nil, nil
}

// Healthy tells what is wrong, or nil.
func (e *Embedded) Healthy() error {
	srv := e.server()
	if srv == nil {
		return errors.New("embedded broker is not running")
	}
	if h := srv.Healthz(&server.HealthzOptions{JSEnabledOnly: true}); h.StatusCode != 200 {
		return fmt.Errorf("embedded broker: %s", h.Error)
	}
	return nil
}

// MayHaveLost tells that the last run did not end in order while messages were synced at an interval only: what
// it acknowledged last may be gone.
func (e *Embedded) MayHaveLost() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unclean && !e.always
}

// InProcessConn opens a connection to the server; it makes an Embedded fit for nats.InProcessServer.
func (e *Embedded) InProcessConn() (net.Conn, error) {
	srv := e.server()
	if srv == nil {
		return nil, errors.New("embedded broker is not running")
	}
	return srv.InProcessConn() //nolint:wrapcheck // called by nats.go only
}

func (e *Embedded) server() *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.srv
}

func (e *Embedded) dataDir() string { return e.o.DataDir }

func (e *Embedded) syncInterval() time.Duration {
	if e.always {
		return 0
	}
	return e.every
}
