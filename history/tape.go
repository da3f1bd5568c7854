package history

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// tape is a channel, or the part of a pattern that one shard has.
type tape struct {
	s      *Store
	shard  int
	filter string
	exact  bool // a single subject
}

func (s *Store) tape(t protocol.Topic, shard int) tape {
	return tape{s: s, shard: shard, filter: subject.StoredIn(shard, t.Server, t.Channel), exact: !t.Channel.IsPattern()}
}

// page reads at most max messages with a sequence of at least from; more tells that there are others behind.
func (tp tape) page(ctx context.Context, from uint64, max int) (entries []entry, more bool, err error) {
	return tp.read(ctx, query{Next: tp.filter, Seq: max1(from), Batch: min(max, pageSize)})
}

// pageSince is page from a moment on.
func (tp tape) pageSince(ctx context.Context, since time.Time, max int) (entries []entry, more bool, err error) {
	since = since.UTC()
	return tp.read(ctx, query{Next: tp.filter, Start: &since, Batch: min(max, pageSize)})
}

func (tp tape) read(ctx context.Context, q query) (entries []entry, more bool, err error) {
	fin, err := tp.s.batch(ctx, "page", tp.shard, q, q.Batch, func(m *nats.Msg) {
		if e, ok := readEntry(tp.shard, m); ok {
			entries = append(entries, e)
		}
	})
	return entries, err == nil && len(entries) > 0 && fin.pending > 0, err
}

// count tells how many messages there are from a sequence on, and the sequence of the first of them.
func (tp tape) count(ctx context.Context, from uint64) (first, n uint64, err error) {
	q := query{Next: tp.filter, Seq: max1(from), Batch: 1}
	_, err = tp.s.batch(ctx, "count", tp.shard, q, 1, func(m *nats.Msg) {
		first, n = number(m.Header, headerSequence), number(m.Header, headerPending)+1
	})
	return first, n, err
}

// seek finds a sequence below which the newest want messages before the sequence below do not begin: reading
// from start to below gives at least want of them, and hardly more than twice as many. below 0 means the end.
// whole tells that start is the first message there is.
func (tp tape) seek(ctx context.Context, want int, below uint64) (start uint64, whole bool, err error) {
	enough, plenty := uint64(want), 2*uint64(want)+16
	if tp.exact && plenty >= MaxPerChannel {
		return 1, true, nil
	}
	first, total, err := tp.count(ctx, 1)
	if err != nil || total <= plenty {
		return max1(first), true, err
	}
	var behind uint64 // how many there are from below on
	high := below
	if below > 0 {
		if _, behind, err = tp.count(ctx, below); err != nil {
			return 0, false, err
		}
	} else if high, err = tp.highest(ctx); err != nil {
		return 0, false, err
	}
	if total <= behind+plenty || high <= first {
		return first, true, nil
	}
	low, atLow, atHigh := first, total-behind, uint64(0) // how many there are from low, from high to below
	for try := 0; try < 40 && high-low > 1; try++ {
		mid := low + (high-low)/2
		if try < 8 { // interpolation; it converges badly when messages stand in clusters
			aim := enough + enough/2 + 8
			span := float64(high-low) * float64(aim-min(aim, atHigh)) / float64(max(atLow-min(atLow, atHigh), 1))
			mid = high - min(max(uint64(span), 1), high-low-1)
		}
		_, n, err := tp.count(ctx, mid)
		if err != nil {
			return 0, false, err
		}
		n -= min(n, behind)
		switch {
		case n < enough:
			high, atHigh = mid, n
		case n > plenty:
			low, atLow = mid, n
		default:
			return mid, false, nil
		}
	}
	return low, low == first, nil
}

// highest is a sequence behind the newest message.
func (tp tape) highest(ctx context.Context) (uint64, error) {
	if tp.exact {
		e, _, err := tp.s.newest(ctx, tp.shard, tp.filter)
		return e.seq + 1, err
	}
	state, err := tp.s.info(ctx, tp.shard)
	return state.State.LastSeq + 1, err
}

func max1(seq uint64) uint64 { return max(seq, 1) }
