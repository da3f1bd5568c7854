package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// fleet is connections to open.
type fleet struct {
	first, n int
	rate     float64 // connects a second; 0 = as fast as it goes
	parallel int
	ask      string // payload of the joins
	handle   func(c *conn, k kind, frame []byte, at time.Duration)
	latency  *histogram // from when the connect was due
	opened   func(c *conn, due time.Duration)
}

// silent is for connections that nothing is measured on.
func silent(*conn, kind, []byte, time.Duration) {}

const plainJoin = `{"history":false,"presence":false}`

// launch opens the connections of f and joins their channels. The first that cannot be opened ends it.
func (r *run) launch(ctx context.Context, f fleet) (*Connect, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f.latency == nil {
		f.latency = &histogram{}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.parallel)
	s := schedule{r.now(), f.rate}
	busy := r.busy.Load()
	for i := range f.n {
		due := s.due(int64(i))
		if _, err := r.await(ctx, due); err != nil {
			break
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		if f.rate == 0 {
			due = r.now()
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.connect(ctx, f, f.first+i, due); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	seconds := (r.now() - s.start).Seconds()
	return &Connect{
		Sockets: f.n, Seconds: round(seconds, 3), PerSecond: round(float64(f.n)/seconds, 1), Busy: r.busy.Load() - busy,
		Latency: summarize(f.latency),
	}, nil
}

// patience is how long one connection is tried for while the server says that it is busy.
const patience = 2 * time.Minute

func (r *run) connect(ctx context.Context, f fleet, id int, due time.Duration) error {
	for first := r.now(); ; {
		c, err := r.try(ctx, f, id)
		if err == nil {
			f.latency.record(r.now() - due)
			r.conns[id] = c
			if f.opened != nil {
				f.opened(c, due)
			}
			return nil
		}
		busy, ok := errors.AsType[*busyError](err)
		if !ok || r.now()-first > patience {
			return fmt.Errorf("connection %d: %w", id+1, err)
		}
		r.busy.Add(1)
		timer := time.NewTimer(busy.after/2 + rand.N(busy.after+time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// try opens one connection and joins its channels.
func (r *run) try(ctx context.Context, f fleet, id int) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, rest, err := r.targets[max(id, 0)%len(r.targets)].dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{
		run: r, id: id, nc: nc, handle: f.handle, shard: r.shards[max(id, 0)%len(r.shards)],
		ended: make(chan struct{}), joined: make(chan error, 1),
	}
	channels := r.channelsOf(id)
	if r.o.sends() {
		c.lanes = make([]lane, len(channels)*r.o.senders())
	}
	c.pending.Store(int32(len(channels)))
	r.open.Add(1)
	r.readers.Go(func() {
		defer r.open.Add(-1)
		c.read(rest)
	})
	for _, channel := range channels {
		if err = c.write(opText, fmt.Appendf(nil, `{"action":"join","options":{"channel":%q},"payload":%s}`, r.o.channel(channel), f.ask)); err != nil {
			break
		}
	}
	if answer := c.awaitJoins(ctx); answer != nil {
		err = answer
	}
	if err != nil {
		r.cut([]*conn{c})
		if e := c.err; e != nil {
			if _, refused := errors.AsType[*RuleError](err); !refused {
				err = e
			}
		}
		return nil, err
	}
	return c, nil
}

// channelsOf are the channels that a connection joins: as many in a row as Options.Joins.
func (r *run) channelsOf(id int) []int {
	if r.o.Channels == 1 || id < 0 {
		return []int{0}
	}
	channels := make([]int, r.o.Joins)
	for j := range channels {
		channels[j] = (id*r.o.Joins + j) % r.o.Channels
	}
	return channels
}

// memberOf gives the connection that is the nth member of a channel, and the place of the channel among its own.
func (r *run) memberOf(channel, n int) (id, slot int) {
	s := channel + n*r.o.Channels
	return s / r.o.Joins, s % r.o.Joins
}

// slotOf is the place of a channel among those of a connection; -1 = it has not joined it.
func (r *run) slotOf(id, channel int) int {
	slot := (channel - id*r.o.Joins) % r.o.Channels
	if slot < 0 {
		slot += r.o.Channels
	}
	if slot >= r.o.Joins {
		return -1
	}
	return slot
}
