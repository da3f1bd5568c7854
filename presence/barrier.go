package presence

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// barrierTTL is how long a barrier stays in the bucket.
const barrierTTL = time.Minute

var errNoBarrier = errors.New("barrier not stored")

// barrier puts messages into one shard whose sequences mark a moment. Calls that come while one is under way
// share the next.
type barrier struct {
	put   func() (uint64, error)
	start func(func()) bool

	mu      sync.Mutex
	next    *passage
	running bool
}

type passage struct {
	done chan struct{}
	seq  uint64
	err  error
}

// pass returns the sequence of a barrier that was put after the call began. It tries until ctx ends.
func (b *barrier) pass(ctx context.Context) (uint64, error) {
	for {
		b.mu.Lock()
		if b.next == nil {
			b.next = &passage{done: make(chan struct{})}
		}
		p := b.next
		if !b.running {
			b.running = b.start(b.run)
		}
		running := b.running
		b.mu.Unlock()
		if !running {
			return 0, ErrStopped
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if p.err == nil {
			return p.seq, nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// run puts barriers while somebody waits for one.
func (b *barrier) run() {
	for {
		b.mu.Lock()
		p := b.next
		b.next = nil
		b.running = p != nil
		b.mu.Unlock()
		if p == nil {
			return
		}
		p.seq, p.err = b.put()
		close(p.done)
	}
}

// putBarrier writes a barrier under a key of a shard.
func (d *Directory) putBarrier(ctx context.Context, shard int, key string) (uint64, error) {
	m := &nats.Msg{Subject: bucketPrefix(shard) + key, Header: nats.Header{headerTTL: {ttl(barrierTTL)}}}
	seq, err := d.request(ctx, m, d.o.AckTimeout)
	if err != nil {
		return 0, err
	}
	if seq == 0 {
		return 0, errNoBarrier
	}
	return seq, nil
}
