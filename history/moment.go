package history

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
)

// momentOf finds when the message with an offset was stored; when it is gone, the next one's time stands in,
// and the present when there is none.
func (s *Store) momentOf(ctx context.Context, offset uint64) (moment, error) {
	shard, seq := subject.SplitOffset(offset)
	m := moment{stored: time.Now(), offset: offset}
	_, err := s.batch(ctx, "moment", shard, query{Seq: max1(seq), Batch: 1}, 1, func(msg *nats.Msg) {
		if e, ok := readEntry(shard, msg); ok {
			m.stored = e.stored
		}
	})
	return m, err
}

// seqAt is the first sequence of a shard stored at a moment or later; 0 when there is none.
func (s *Store) seqAt(ctx context.Context, shard int, at time.Time) (seq uint64, err error) {
	at = at.UTC()
	_, err = s.batch(ctx, "moment", shard, query{Start: &at, Batch: 1}, 1, func(msg *nats.Msg) {
		seq = number(msg.Header, headerSequence)
	})
	return seq, err
}
