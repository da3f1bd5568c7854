package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fanfare/internal/config"
	"fanfare/internal/ops"
)

// Broker is one node of a broker cluster: a NATS server and its operations listener.
type Broker struct {
	log    *slog.Logger
	server BrokerServer
	ops    *ops.Server // nil without ops_listen
}

// BrokerServer is a NATS server with ports of its own; natsd.Server is one.
type BrokerServer interface {
	Run(ctx context.Context) error
	Healthy() error
	Addr() string
	Collector() prometheus.Collector
}

// NewBroker builds what `fanfare broker` runs around a server and starts nothing.
func NewBroker(cfg config.Config, srv BrokerServer, o Options) (*Broker, error) {
	b := &Broker{log: o.Logger, server: srv}
	if !cfg.Broker.Sync.Always() {
		b.log.Warn("broker.sync is weaker than always: a power failure of all nodes may lose acknowledged messages", "sync", cfg.Broker.Sync.String())
	}
	if cfg.OpsListen == "" {
		return b, nil
	}
	reg := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), b.server.Collector()} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	oo := ops.Options{
		Listen: cfg.OpsListen, Gatherer: reg, Registerer: reg, Build: ops.ReadBuild(o.Version, o.Commit), Pprof: cfg.OpsPprof, Logger: o.Logger,
		Checks: []ops.Check{{Name: "broker", Probe: func(context.Context) error { return b.server.Healthy() }}},
	}
	if !cfg.Broker.Sync.Always() {
		oo.Notes = append(oo.Notes, ops.Note{Name: "broker.sync", Text: "stored messages are synced to disk every " +
			cfg.Broker.Sync.String() + ": a power failure of all nodes may lose what was acknowledged since"})
	}
	var err error
	if b.ops, err = ops.New(oo); err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	return b, nil
}

// Run serves until ctx ends, then moves leaders and clients to the other nodes. The operations listener goes last.
func (b *Broker) Run(ctx context.Context) error {
	parts := newParts(context.WithoutCancel(ctx))
	defer parts.stopAll()
	if b.ops != nil {
		parts.start("operations", b.ops.Run)
	}
	serverCtx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(parts.ctx, stop)()
	err := b.server.Run(serverCtx)
	if failed := parts.failure(); failed != nil {
		err = errors.Join(err, failed)
	}
	b.log.Info("stopped")
	return err
}

// Addr is where gateways connect, empty while it does not run.
func (b *Broker) Addr() string { return b.server.Addr() }

// Ready tells whether gateways should use it.
func (b *Broker) Ready() bool { return b.server.Healthy() == nil }
