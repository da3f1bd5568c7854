package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/subject"
)

// defaultWait bounds requests whose context has no deadline.
const defaultWait = 5 * time.Second

// Options of a Store.
type Options struct {
	Control *nats.Conn   // JetStream API and the meta bucket
	Reads   []*nats.Conn // direct reads; a slow read blocks whatever else is on its connection
	// Replicas of the streams; default 1.
	Replicas int
	// MayHaveLost: the last run may have lost what it acknowledged last (broker.Embedded.MayHaveLost), so that
	// Ensure begins new epochs.
	MayHaveLost bool
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Store reads and keeps the stored publications.
type Store struct {
	o       Options
	log     *slog.Logger
	js      jetstream.JetStream
	metrics *metrics
	shards  [subject.Shards]shard
	slots   chan struct{} // bounds the reads under way
	turn    atomic.Uint32 // of the read connections
	trims   *trimQueue
}

// New builds a Store. Run starts its trimming; reading works without. Ensure must have succeeded once before
// anything is read.
func New(o Options) (*Store, error) {
	if o.Control == nil || len(o.Reads) == 0 {
		return nil, errors.New("history: no connections")
	}
	if o.Replicas <= 0 {
		o.Replicas = 1
	}
	js, err := jetstream.New(o.Control)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("history metrics: %w", err)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{o: o, log: log, js: js, metrics: m, slots: make(chan struct{}, maxReads), trims: newTrimQueue()}, nil
}

// bounded gives ctx a deadline when it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultWait)
}

// pause waits a moment; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
