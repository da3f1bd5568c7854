package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// messages is fan-out and rooms: members join, some of them send on a schedule, all deliveries are awaited.
func (r *run) messages(ctx context.Context) error {
	connect, err := r.launch(ctx, fleet{n: len(r.conns), rate: r.o.ConnectRate, parallel: r.o.Parallel, ask: plainJoin, handle: r.deliver})
	if err != nil {
		return err
	}
	r.result.Connect, r.result.Rate, r.result.Size = connect, r.o.Rate, r.o.Size
	send, wait := r.sender(ctx)
	s := schedule{start: r.now() + 50*time.Millisecond, rate: r.o.Rate * float64(r.o.Channels)}
	r.measured.Store(int64(s.start + r.o.Warmup))
	warm, total := s.within(r.o.Warmup), s.within(r.o.Warmup+r.o.Duration)
	var p phase
	var before, reads, sent int64
	for n := range total {
		if n == warm {
			if p, err = r.begin(ctx); err != nil {
				break
			}
			before, reads = r.received(), r.sum(readsOf)
		}
		due := s.due(n)
		lateness, e := r.await(ctx, due)
		if e != nil {
			err = e
			break
		}
		if n >= warm {
			r.late.record(lateness)
		}
		if send(n, due) {
			sent++
		}
	}
	sent -= wait()
	if err != nil {
		return err
	}
	took := r.drain(ctx, sent*int64(r.o.Members)) - s.start - r.o.Warmup
	received := r.received()
	if err := r.end(ctx, p, received-before); err != nil {
		return err
	}
	d := &Deliveries{Sent: sent, Expected: sent * int64(r.o.Members), Received: received, PerSecond: round(float64(received-before)/took.Seconds(), 1)}
	if n := r.sum(readsOf) - reads; n > 0 {
		d.PerRead = round(float64(received-before)/float64(n), 2)
	}
	r.result.Deliveries, r.result.Latency, r.result.Late = d, r.latency(), summarize(&r.late)
	return nil
}

func readsOf(s *shard) *atomic.Int64 { return &s.reads }

// sender gives what sends message n, and what waits for the rest and tells how many were refused after all.
func (r *run) sender(ctx context.Context) (send func(n int64, due time.Duration) bool, wait func() int64) {
	if r.o.APIKey != "" {
		return r.publisher(ctx)
	}
	senders := r.o.senders()
	frames := make([][]byte, r.o.Channels)
	var buf []byte
	return func(n int64, due time.Duration) bool {
		m := r.markOf(n, senders, due)
		id, _ := r.memberOf(m.channel, m.lane)
		if frames[m.channel] == nil {
			frames[m.channel] = fmt.Appendf(nil, `{"action":"message","options":{"channel":%q},"payload":`, r.o.channel(m.channel))
		}
		buf = append(buf[:0], frames[m.channel]...)
		buf = append(appendMark(buf, string(r.prefix), m, r.o.Size), '}')
		return r.conns[id].write(opText, buf) == nil
	}, func() int64 { return 0 }
}

// markOf says what message n of the schedule is: the channels in turn, and the senders of each in turn.
func (r *run) markOf(n int64, senders int, due time.Duration) mark {
	channels := int64(r.o.Channels)
	round := n / channels
	return mark{channel: int(n % channels), lane: int(round % int64(senders)), seq: uint32(round / int64(senders)), due: due}
}

// deliver accounts for what a member gets.
func (r *run) deliver(c *conn, k kind, frame []byte, at time.Duration) {
	if k != kindMessage {
		return
	}
	m, ok := findMark(frame, r.prefix, r.o.Size)
	if !ok {
		c.shard.foreign.Add(1)
		return
	}
	senders := r.o.senders()
	slot := r.slotOf(c.id, m.channel)
	if slot < 0 || m.lane >= senders {
		c.shard.foreign.Add(1)
		return
	}
	switch c.lanes[slot*senders+m.lane].take(m.seq) {
	case duplicate:
		c.shard.duplicates.Add(1)
		return
	case late:
		c.shard.late.Add(1)
	case inOrder, ahead:
	}
	c.shard.received.Add(1)
	if int64(m.due) >= r.measured.Load() {
		c.shard.latency.record(at - m.due)
	}
}

// drain waits until so many were received, or nothing came for a while. It tells when the last came.
func (r *run) drain(ctx context.Context, expected int64) time.Duration {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	last, since := int64(-1), r.now()
	for {
		n := r.received()
		if n != last {
			last, since = n, r.now()
		}
		if n >= expected || r.now()-since > r.o.Drain {
			return since
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return since
		}
	}
}
