package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// reader is what one connection asked for and has no answer to yet. Answers come in the order of the requests.
type reader struct {
	mu  sync.Mutex
	due []time.Duration
}

// maxAsked bounds what one connection waits for.
const maxAsked = 1000

// history stores messages, then reads them on a schedule.
func (r *run) history(ctx context.Context) error {
	readers := make([]reader, len(r.conns))
	var stored histogram
	var acks, refused, kept, incomplete, size atomic.Int64
	handle := func(c *conn, k kind, frame []byte, at time.Duration) {
		switch k {
		case kindAck:
			if _, after, ok := bytes.Cut(frame, []byte(`"ref":"`)); ok && len(after) >= 14 {
				due, _ := parseHex(after[:14])
				stored.record(at - time.Duration(due))
				acks.Add(1)
			}
		case kindError:
			refused.Add(1)
		case kindHistory:
			q := &readers[c.id]
			q.mu.Lock()
			if len(q.due) == 0 {
				q.mu.Unlock()
				return
			}
			due := q.due[0]
			q.due = q.due[1:]
			q.mu.Unlock()
			n := int64(bytes.Count(frame, r.prefix))
			if !kept.CompareAndSwap(0, n) && n != kept.Load() {
				incomplete.Add(1)
			}
			size.Add(int64(len(frame)))
			c.shard.received.Add(1)
			if int64(due) >= r.measured.Load() {
				c.shard.latency.record(at - due)
			}
		default:
		}
	}
	connect, err := r.launch(ctx, fleet{n: len(r.conns), rate: r.o.ConnectRate, parallel: r.o.Parallel, ask: plainJoin, handle: handle})
	if err != nil {
		return err
	}
	r.result.Connect, r.result.Rate, r.result.Size = connect, r.o.Rate, r.o.Size
	if err := r.store(ctx, func() int64 { return acks.Load() + refused.Load() }); err != nil {
		return err
	}
	if n := acks.Load(); n < int64(r.o.Messages) {
		return fmt.Errorf("only %d of %d messages were stored: %s", n, r.o.Messages, r.reasons())
	}
	ask := func(n int64, due time.Duration) bool {
		id := int(n % int64(len(r.conns)))
		q := &readers[id]
		q.mu.Lock()
		full := len(q.due) >= maxAsked
		if !full {
			q.due = append(q.due, due)
		}
		q.mu.Unlock()
		return !full && r.conns[id].write(opText, fmt.Appendf(nil, `{"action":"history","options":{"channel":%q},"payload":null}`, r.o.channel(0))) == nil
	}
	r.measured.Store(math.MaxInt64)
	ask(0, r.now())
	r.drain(ctx, 1)
	if kept.Load() == 0 {
		return errors.New("the stored messages did not come back")
	}
	before := r.received()
	size.Store(0)
	p, err := r.begin(ctx)
	if err != nil {
		return err
	}
	s := schedule{r.now(), r.o.Rate}
	r.measured.Store(int64(s.start))
	f := &HistoryFigures{Stored: r.o.Messages, StoreLatency: summarize(&stored), Kept: int(kept.Load())}
	for n := range s.within(r.o.Duration) {
		lateness, err := r.await(ctx, s.due(n))
		if err != nil {
			return err
		}
		r.late.record(lateness)
		if ask(n, s.due(n)) {
			f.Requests++
		}
	}
	r.drain(ctx, before+f.Requests)
	seconds := (r.now() - s.start).Seconds()
	f.Answered, f.Incomplete = r.received()-before, incomplete.Load()
	f.PerSecond, f.MBPerSecond = round(float64(f.Answered)/seconds, 1), round(float64(size.Load())/seconds/1e6, 2)
	r.result.History, r.result.Latency, r.result.Late = f, r.latency(), summarize(&r.late)
	return r.end(ctx, p, 0)
}

// store sends the messages that are to be read, from all connections in turn, and waits for their acknowledgements.
func (r *run) store(ctx context.Context, answered func() int64) error {
	s := schedule{r.now(), min(float64(len(r.conns))*r.o.SenderRate, 1000)}
	var buf []byte
	for i := range r.o.Messages {
		due := s.due(int64(i))
		if _, err := r.await(ctx, due); err != nil {
			return err
		}
		buf = fmt.Appendf(buf[:0], `{"action":"message","options":{"channel":%q,"ref":"`, r.o.channel(0))
		buf = append(appendHex(buf, uint64(due), 14), `"},"payload":`...)
		buf = append(appendMark(buf, string(r.prefix), mark{seq: uint32(i), due: due}, r.o.Size), '}')
		if err := r.conns[i%len(r.conns)].write(opText, buf); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begin := r.now(); answered() < int64(r.o.Messages) && r.now()-begin < 15*time.Second; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
