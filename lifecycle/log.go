package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/persist"
	"fanfare/protocol"
)

// Options of a Log. Zero values of what follows Retention are replaced by the documented defaults.
type Options struct {
	// Control is for writes and the JetStream API, Reads for reading; they are not closed.
	Control *nats.Conn
	Reads   *nats.Conn
	// Node is this run of the process.
	Node protocol.NodeID
	// Replicas of the stream; 0 = 1.
	Replicas int
	// Retention is how long events are kept at least.
	Retention time.Duration
	// Keeper tells whether this gateway should be the one that ends lost gateways and derives occupied and vacated.
	// When several think so for a while, nothing goes wrong.
	Keeper func() bool
	// Alive lists the other gateways that hold a lease.
	Alive func() []protocol.NodeID
	// Webhooks lists the addresses that get events, and Deliver calls one; nil = none. An error of Deliver has the same
	// delivery made again later.
	Webhooks func() []Webhook
	Deliver  func(context.Context, Webhook, Delivery) error
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger

	// Queue is how many events may wait to be stored. 65536.
	Queue int
	// Grace is how long a gateway must have been without a lease before it is ended. 5 s.
	Grace time.Duration
	// Tick is the time between two looks of the keeper. 2 s.
	Tick time.Duration
	// Gather is how long events are gathered before they are written together. 20 ms.
	Gather time.Duration
}

// Log writes and reads lifecycle events.
type Log struct {
	*Recorder

	o       Options
	log     *slog.Logger
	metrics *metrics
	js      jetstream.JetStream
	number  atomic.Uint64
	lanes   map[protocol.ServerID]*lane // the writer's
}

// New builds a Log; Ensure makes its stream, Run starts it.
func New(o Options) (*Log, error) {
	if o.Control == nil || o.Reads == nil || len(o.Node) != protocol.NodeIDLen || o.Retention <= 0 {
		return nil, errors.New("lifecycle: connections, node and retention must be set")
	}
	if o.Queue <= 0 {
		o.Queue = 65536
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Grace, 5*time.Second)
	def(&o.Tick, 2*time.Second)
	def(&o.Gather, 20*time.Millisecond)
	if o.Replicas <= 0 {
		o.Replicas = 1
	}
	if o.Keeper == nil {
		o.Keeper = func() bool { return true }
	}
	if o.Alive == nil {
		o.Alive = func() []protocol.NodeID { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	js, err := jetstream.New(o.Control)
	if err != nil {
		return nil, fmt.Errorf("lifecycle: %w", err)
	}
	l := &Log{o: o, log: o.Logger, js: js, lanes: map[protocol.ServerID]*lane{}}
	r := newRecorder(o.Queue, nil)
	l.metrics, err = newMetrics(o.Registerer, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(r.queued)
	})
	if err != nil {
		return nil, err
	}
	r.m = l.metrics
	l.Recorder = r
	return l, nil
}

// duplicates is short: what keeps a batch from being stored twice is the compare and set.
const duplicates = time.Second

func (l *Log) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamName, Description: "Fanfare: lifecycle events", Subjects: []string{subjectPrefix + ">"},
		Storage: jetstream.FileStorage, Replicas: l.o.Replicas, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: 2 * l.o.Retention, MaxMsgs: -1, MaxBytes: -1, Duplicates: duplicates, AllowDirect: true, DenyDelete: true,
		RePublish: &jetstream.RePublish{Source: subjectPrefix + ">", Destination: noticePrefix + ">", HeadersOnly: true},
	}
}

// Ensure creates the stream and the bucket or brings them up to date. Several gateways may do so at once; it tries
// again until ctx ends.
func (l *Log) Ensure(ctx context.Context) error {
	try := persist.Try{Logger: l.log, Waiting: "lifecycle is not ready, trying again", Attrs: []any{"replicas", l.o.Replicas}}
	return try.Until(ctx, l.ensure)
}

// ensure leaves alone what is as it should be: a gateway need not be allowed to change any.
func (l *Log) ensure(ctx context.Context) error {
	want := l.config()
	stream, err := l.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && !asWanted(stream.CachedInfo().Config, want) {
		_, err = l.js.CreateOrUpdateStream(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", streamName, err)
	}
	bucket := jetstream.KeyValueConfig{
		Bucket: cursorBucket, Description: "Fanfare: where webhooks stand", Replicas: l.o.Replicas, Storage: jetstream.FileStorage, History: 1,
	}
	kv, err := l.js.KeyValue(ctx, bucket.Bucket)
	if err == nil {
		var status jetstream.KeyValueStatus
		if status, err = kv.Status(ctx); err == nil && status.Config().Replicas == bucket.Replicas {
			return nil
		}
	}
	if err == nil || errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = l.js.CreateOrUpdateKeyValue(ctx, bucket)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", cursorBucket, err)
	}
	return nil
}

// asWanted compares what config sets.
func asWanted(have, want jetstream.StreamConfig) bool {
	return slices.Equal(have.Subjects, want.Subjects) && have.Storage == want.Storage && have.Replicas == want.Replicas &&
		have.Retention == want.Retention && have.Discard == want.Discard && have.MaxAge == want.MaxAge && have.MaxMsgs == want.MaxMsgs &&
		have.MaxBytes == want.MaxBytes && have.Duplicates == want.Duplicates && have.AllowDirect == want.AllowDirect &&
		have.DenyDelete == want.DenyDelete && have.RePublish != nil && *have.RePublish == *want.RePublish
}

// Run writes and keeps until ctx ends. What is still queued then is written within a few seconds, with the mark
// that this gateway is over.
func (l *Log) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { l.keep(ctx) })
	group.Go(func() { l.deliver(ctx) })
	// A write that is under way when ctx ends is waited for: given up, nobody would know whether it was stored.
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		wait(last, lastWrites)
		cancel()
	})()
	l.write(ctx, last)
	l.close(last)
	return nil
}

// lastWrites is how long the end of the log waits for the broker. What is not written then is written by the keeper
// of another gateway, or by the next start.
const lastWrites = 3 * time.Second

// wait pauses; false when ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
