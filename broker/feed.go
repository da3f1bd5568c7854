package broker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// attachWait bounds Attach and SetStored when their context has no deadline.
const attachWait = 10 * time.Second

// Feed is the node's interest in one topic.
type Feed struct {
	b       *Broker
	topic   protocol.Topic
	subject string // or filter
	shard   int    // of a channel; of a pattern it only chooses the connection
	pattern bool
	sink    Sink

	marks  marks       // of unstored publications; the dispatcher's
	ready  atomic.Bool // Reset was called: publications may pass
	closed atomic.Bool

	setup sync.Mutex // serialises Attach, SetStored and new positions; held over requests to the broker
	sub   atomic.Pointer[nats.Subscription]

	// mu serialises the stored deliveries, and guards what follows. It is held during calls of the sink.
	mu     sync.Mutex
	stored bool
	chain  chain    // of a channel
	below  *pattern // of a pattern
}

// Attach opens the node's interest in a topic, at most one at a time, and returns when it is live: whatever is
// accepted after that is delivered.
func (b *Broker) Attach(ctx context.Context, t protocol.Topic, stored bool, sink Sink) (*Feed, error) {
	if err := subject.Check(t.Channel); err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	f := &Feed{
		b: b, topic: t, subject: subject.Live(t), shard: subject.Shard(t.Server, t.Channel),
		pattern: t.Channel.IsPattern(), sink: sink,
	}
	f.chain = chain{channel: t.Channel, shard: f.shard, holding: true}
	if f.pattern {
		f.below = &pattern{chains: map[protocol.Channel]*chain{}}
	}
	if !b.interest.add(f) {
		return nil, fmt.Errorf("attach %q: %w", t.Channel, ErrAttached)
	}
	if err := f.open(ctx, stored); err != nil {
		f.Detach()
		return nil, fmt.Errorf("attach %q: %w", t.Channel, err)
	}
	return f, nil
}

// open subscribes and finds the position.
func (f *Feed) open(ctx context.Context, stored bool) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, attachWait)
		defer cancel()
	}
	f.setup.Lock()
	defer f.setup.Unlock()
	if f.closed.Load() {
		return ErrDetached
	}
	if !stored {
		if !f.b.o.Solo {
			if err := f.subscribe(ctx); err != nil {
				return err
			}
		}
		f.mu.Lock()
		f.unstore()
		f.mu.Unlock()
		if !f.ready.Load() {
			f.sink.Reset(protocol.Position{})
			f.ready.Store(true)
		}
		return nil
	}
	f.mu.Lock()
	f.stored = true // from here on publications are held until the position is known
	f.mu.Unlock()
	err := f.subscribe(ctx)
	if err == nil {
		err = f.position(ctx)
	}
	if err != nil {
		f.mu.Lock()
		f.unstore()
		f.mu.Unlock()
		return err
	}
	f.b.sweeper.attached(f)
	return nil
}

// unstore ends the following of offsets; what is held passes as it is. mu is held.
func (f *Feed) unstore() {
	f.stored = false
	held := f.chain.held
	f.chain.held, f.chain.target = nil, 0
	if f.pattern {
		for _, c := range f.below.chains {
			held = append(held, c.held...)
		}
		f.below.forget()
	}
	if !f.ready.Load() || f.closed.Load() {
		return
	}
	for _, h := range held {
		f.deliver(h.p)
	}
}

// subscribe opens the subscription, once, and waits until the broker has it.
func (f *Feed) subscribe(ctx context.Context) error {
	if f.sub.Load() != nil {
		return nil
	}
	l := f.b.live[f.shard%len(f.b.live)]
	sub, err := l.nc.ChanSubscribe(f.subject, l.in)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	f.sub.Store(sub)
	if f.closed.Load() {
		f.unsubscribe()
		return ErrDetached
	}
	if err := l.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// position learns where the stored sequence stands and lets pass what was held meanwhile.
func (f *Feed) position(ctx context.Context) error {
	back := f.b.o.Backfill
	pos, err := back.Position(ctx, f.topic)
	if err != nil {
		return err
	}
	if f.pattern {
		var floors [subject.Shards]uint64
		var epochs [subject.Shards]string
		for shard := range floors {
			if epochs[shard], floors[shard], err = back.Refresh(ctx, shard); err != nil {
				return err
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.closed.Load() {
			return ErrDetached
		}
		f.sink.Reset(pos)
		f.ready.Store(true)
		f.below.begin(f, floors, epochs)
		return nil
	}
	_, seq := subject.SplitOffset(pos.Offset)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Load() {
		return ErrDetached
	}
	f.begin(seq, pos)
	return nil
}

// begin starts the chain of a channel at a position; mu is held.
func (f *Feed) begin(seq uint64, pos protocol.Position) {
	if f.chain.last > seq && (f.chain.epoch == "" || f.chain.epoch == pos.Epoch) { // the replica asked lags
		seq = f.chain.last
		pos.Offset = subject.Offset(f.shard, seq)
	}
	f.chain.last, f.chain.verified, f.chain.epoch = seq, seq, pos.Epoch
	f.chain.target = 0
	f.sink.Reset(pos)
	f.ready.Store(true)
	f.resettle(&f.chain)
}

// SetStored says that the topic has history now, or no more. Switching it on positions the feed anew.
func (f *Feed) SetStored(ctx context.Context, stored bool) error {
	f.mu.Lock()
	same := f.stored == stored
	if !same && stored && !f.pattern {
		f.chain.holding = true // until the position is known
	}
	if !same && stored && f.pattern {
		f.below.holding = true
	}
	f.mu.Unlock()
	if same {
		return nil
	}
	if err := f.open(ctx, stored); err != nil {
		return fmt.Errorf("history of %q: %w", f.topic.Channel, err)
	}
	return nil
}

// Delivered tells whether a stored publication of the topic was delivered already, or stored before the feed
// began: otherwise it will be. When it is true for one that was delivered, the sink's Deliver has returned.
func (f *Feed) Delivered(p *protocol.Publication) bool {
	shard, seq := subject.SplitOffset(p.Offset)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.pattern {
		return seq <= f.chain.last
	}
	if c := f.below.chains[p.Channel]; c != nil {
		return seq <= c.last
	}
	return seq <= f.below.floors[shard]
}

// Detach ends the interest; afterwards the sink is called no more, but for calls under way.
func (f *Feed) Detach() {
	if f.closed.Swap(true) {
		return
	}
	f.b.interest.remove(f)
	f.unsubscribe()
}

func (f *Feed) unsubscribe() {
	if sub := f.sub.Swap(nil); sub != nil {
		_ = sub.Unsubscribe() // fails only when the connection is closed
	}
}

// pass hands an unstored publication on.
func (f *Feed) pass(p *protocol.Publication) {
	if f.ready.Load() && !f.closed.Load() {
		f.sink.Deliver(p)
	}
}
