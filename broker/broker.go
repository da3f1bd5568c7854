package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

// Sink receives what a Feed brings. The calls must not block.
//
// Stored publications come in the order of their offsets, from one goroutine at a time, each offset once, without
// a hole or after a call of Gap. Unstored ones (offset 0) pass straight through and may come concurrently, from
// the goroutines of local senders too.
type Sink interface {
	// Reset says where the topic's stored sequence stands: everything behind pos will be delivered. It comes
	// before the first Deliver, and again, after a Gap, when the stream was recreated or went backwards.
	Reset(pos protocol.Position)
	Deliver(p *protocol.Publication)
	// Gap says that the stored publications of a channel after offset from up to to are lost for this node.
	Gap(channel protocol.Channel, from, to uint64)
}

// Backfill reads what the live path has missed. Implemented by history.Store. A publication without a Kind
// stands for a stored message that nobody can read.
type Backfill interface {
	// Epoch of a shard as last seen; no I/O.
	Epoch(shard int) string
	// Refresh looks at a shard's stream at its leader: the epoch, and its last sequence.
	Refresh(ctx context.Context, shard int) (epoch string, last uint64, err error)
	// Position of a topic's end. Whatever is stored later comes behind it; it may be behind the truth.
	Position(ctx context.Context, t protocol.Topic) (protocol.Position, error)
	// After reads publications of a topic in one shard with a sequence above after, oldest first. It may be
	// answered by a replica that lags behind. more: there are more than max.
	After(ctx context.Context, t protocol.Topic, shard int, after uint64, max int) (pubs []*protocol.Publication, more bool, err error)
	// Since reads publications of a topic in one shard that were stored at a moment or later, oldest first, at most
	// max. It may be answered by a replica that lags behind.
	Since(ctx context.Context, t protocol.Topic, shard int, since time.Time, max int) ([]*protocol.Publication, error)
	// LeaderNext is the first publication of a topic in one shard with a sequence above after, as the stream's
	// leader knows it; nil when there is none.
	LeaderNext(ctx context.Context, t protocol.Topic, shard int, after uint64) (*protocol.Publication, error)
	// Untouched tells whether it is certain that no message behind a sequence was ever removed from a shard.
	Untouched(ctx context.Context, shard int, seq uint64) (bool, error)
	// Moved tells the newest sequence of those channels of one shard that have one above after; a pattern stands
	// for the channels below it. through is the sequence up to which the answer is complete, 0 when unknown.
	Moved(ctx context.Context, shard int, topics []protocol.Topic, after uint64) (newest map[protocol.Topic]uint64, through uint64, err error)
}

// Options of a Broker.
type Options struct {
	Client   *Client
	Node     protocol.NodeID
	Solo     bool // the broker is embedded and no other gateway can exist: unstored publications stay here
	Backfill Backfill
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger

	MaxInFlight      int           // stored publications under way, and unstored ones waiting to be sent; default 8192
	MaxInFlightBytes int           // their size; default 64 MiB
	Deadline         time.Duration // of a stored publication; default 12 s, longer than an election
	SweepInterval    time.Duration // longest time between two checks of a channel; default 30 s
}

// Broker carries publications between gateways.
type Broker struct {
	o        Options
	log      *slog.Logger
	metrics  *metrics
	interest *interest
	sender   *sender
	batches  chan struct{} // bounds PublishBatch
	repairs  *repairs
	sweeper  *sweeper
	rpc      *rpc
	live     []*liveConn

	dropForTest func(*nats.Msg) bool // set before Run
}

// New builds a Broker; Run starts it.
func New(o Options) (*Broker, error) {
	if o.Client == nil || o.Backfill == nil || len(o.Node) != protocol.NodeIDLen {
		return nil, errors.New("broker: client, backfill and node must be set")
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 8192
	}
	if o.MaxInFlightBytes <= 0 {
		o.MaxInFlightBytes = 64 << 20
	}
	if o.Deadline <= 0 {
		o.Deadline = 12 * time.Second
	}
	if o.SweepInterval <= 0 {
		o.SweepInterval = 30 * time.Second
	}
	b := &Broker{o: o, log: orDiscard(o.Logger), interest: newInterest()}
	b.sender = newSender(b)
	b.batches = make(chan struct{}, maxBatches)
	b.repairs = &repairs{b: b}
	b.sweeper = newSweeper(b)
	b.rpc = newRPC(b)
	for _, nc := range o.Client.Live() {
		b.live = append(b.live, &liveConn{nc: nc, in: make(chan *nats.Msg, liveQueue)})
	}
	m, err := newMetrics(b, o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("broker metrics: %w", err)
	}
	b.metrics = m
	o.Client.OnReconnect(b.reconnected)
	o.Client.onSlow(b.slow)
	return b, nil
}

// Run dispatches, publishes, repairs and sweeps until ctx ends, and waits for its goroutines. What is under way
// then is answered with an error: Flush first.
func (b *Broker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	failed := make(chan error, 2)
	for _, part := range []func(context.Context) error{b.sender.run, b.rpc.run} {
		group.Go(func() {
			if err := part(ctx); err != nil {
				failed <- err
			}
		})
	}
	for _, l := range b.live {
		group.Go(func() { b.dispatch(ctx, l) })
	}
	group.Go(func() { b.repairs.run(ctx) })
	group.Go(func() { b.sweeper.run(ctx) })
	defer b.interest.closeAll()
	defer cancel()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// Flush waits until no publication is under way.
func (b *Broker) Flush(ctx context.Context) error { return b.sender.flush(ctx) }

// reconnected is called when lost connections are back: anything may have been missed.
func (b *Broker) reconnected() {
	b.metrics.reconnects.Inc()
	b.sender.kick()
	b.sweeper.suspectAll(0, time.Second, 3*time.Second)
}

// slow is called when nats.go began to drop messages of a subscription because a dispatcher lagged.
func (b *Broker) slow(sub *nats.Subscription) {
	if sub == nil || b.interest.subject(sub.Subject) == nil {
		return
	}
	b.metrics.dropped.WithLabelValues("slow_consumer").Inc()
	b.sweeper.suspectAll(200*time.Millisecond, time.Second, 3*time.Second)
}
