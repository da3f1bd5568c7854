package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

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
	// before the first Deliver of a stored publication, and again when the stream was recreated.
	Reset(pos protocol.Position)
	Deliver(p *protocol.Publication)
	// Gap says that the stored publications of a channel after offset from up to to are lost for this node.
	Gap(channel protocol.Channel, from, to uint64)
}

// Backfill reads what the live path has missed. Implemented by history.Store.
type Backfill interface {
	// Epoch of a shard as last seen; no I/O.
	Epoch(shard int) string
	// Refresh looks at a shard's stream at its leader: the epoch, and its last sequence.
	Refresh(ctx context.Context, shard int) (epoch string, last uint64, err error)
	// Position of a topic's end: nothing stored at or before it is missing from what was stored then.
	Position(ctx context.Context, t protocol.Topic) (protocol.Position, error)
	// After reads publications of a topic in one shard with a sequence above after, oldest first. It may be
	// answered by a replica that lags behind. more: there are more than max.
	After(ctx context.Context, t protocol.Topic, shard int, after uint64, max int) (pubs []*protocol.Publication, more bool, err error)
	// LeaderNext is the first publication of a topic in one shard with a sequence above after, as the stream's
	// leader knows it; nil when there is none.
	LeaderNext(ctx context.Context, t protocol.Topic, shard int, after uint64) (*protocol.Publication, error)
	// Moved tells the newest sequence of those channels of one shard that have one above after. through is the
	// sequence up to which the answer is complete, 0 when that is unknown.
	Moved(ctx context.Context, shard int, topics []protocol.Topic, after uint64) (newest map[protocol.Topic]uint64, through uint64, err error)
}

// Options of a Broker.
type Options struct {
	Client   *Client
	Node     protocol.NodeID
	Solo     bool // the broker is embedded and no other gateway can exist: core publishes are skipped
	Backfill Backfill
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger

	MaxInFlight      int           // stored publications under way; default 8192
	MaxInFlightBytes int           // default 64 MiB
	Deadline         time.Duration // of a stored publication; default 12 s
	SweepInterval    time.Duration // longest time between two sweeps of a channel; default 30 s
}

// Broker carries publications between gateways.
type Broker struct{}

// New builds a Broker; Run starts it.
func New(o Options) (*Broker, error) { return nil, errors.ErrUnsupported }

// Run works until ctx ends and waits for its goroutines.
func (b *Broker) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Attach opens the node's interest in a topic and returns when it is live.
func (b *Broker) Attach(ctx context.Context, t protocol.Topic, stored bool, sink Sink) (*Feed, error) {
	return nil, errors.ErrUnsupported
}

// Publish hands over a publication and never blocks; done is called exactly once.
func (b *Broker) Publish(p *protocol.Publication, stored bool, lane protocol.SessionID, done func(protocol.Receipt, error)) {
	done(protocol.Receipt{}, errors.ErrUnsupported)
}

// PublishExpecting stores p only if the newest stored offset of its channel is expect (0: nothing stored).
func (b *Broker) PublishExpecting(p *protocol.Publication, lane protocol.SessionID, expect uint64, done func(protocol.Receipt, error)) {
	done(protocol.Receipt{}, errors.ErrUnsupported)
}

// Flush waits until no stored publication is under way.
func (b *Broker) Flush(ctx context.Context) error { return errors.ErrUnsupported }

// Feed is the node's interest in one topic.
type Feed struct{}

// SetStored says that the topic has history now, or no more.
func (f *Feed) SetStored(ctx context.Context, stored bool) error { return errors.ErrUnsupported }

// Detach ends the interest; afterwards the sink is called no more, but for calls under way.
func (f *Feed) Detach() {}

// Request asks one gateway.
func (b *Broker) Request(ctx context.Context, node protocol.NodeID, verb string, payload []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// RequestAll asks every gateway, this one included, and waits for the expected ones until ctx ends.
func (b *Broker) RequestAll(ctx context.Context, verb string, payload []byte, expect []protocol.NodeID) (map[protocol.NodeID][]byte, error) {
	return nil, errors.ErrUnsupported
}

// Handle answers requests of other gateways. To be called before Run.
func (b *Broker) Handle(verb string, h func(ctx context.Context, payload []byte) ([]byte, error)) {}
