package history

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// After reads publications of a topic in one shard with a sequence above after, oldest first. A replica that
// lags may answer. more: there are more than max.
func (s *Store) After(ctx context.Context, t protocol.Topic, shard int, after uint64, max int) (pubs []*protocol.Publication, more bool, err error) {
	entries, more, err := s.tape(t, shard).page(ctx, after+1, max)
	for _, e := range entries {
		pubs = append(pubs, e.pub)
		s.saw(shard, e.seq)
	}
	return pubs, more, err
}

// Since reads publications of a topic in one shard that were stored at a moment or later, oldest first, at most max.
// A replica that lags may answer.
func (s *Store) Since(ctx context.Context, t protocol.Topic, shard int, since time.Time, max int) ([]*protocol.Publication, error) {
	var pubs []*protocol.Publication
	entries, more, err := s.tape(t, shard).pageSince(ctx, since, max)
	for {
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			pubs = append(pubs, e.pub)
			s.saw(shard, e.seq)
		}
		if !more || len(pubs) >= max {
			return pubs, nil
		}
		entries, more, err = s.tape(t, shard).page(ctx, entries[len(entries)-1].seq+1, max-len(pubs))
	}
}

// LeaderNext is the first publication of a topic in one shard with a sequence above after, as the stream's
// leader knows it; nil when there is none.
func (s *Store) LeaderNext(ctx context.Context, t protocol.Topic, shard int, after uint64) (*protocol.Publication, error) {
	e, ok, err := s.leader(ctx, shard, query{Next: subject.StoredIn(shard, t.Server, t.Channel), Seq: after + 1})
	if err != nil || !ok {
		return nil, err
	}
	return e.pub, nil
}

// Untouched tells whether it is certain that no message behind a sequence was ever removed from a shard.
func (s *Store) Untouched(ctx context.Context, shard int, seq uint64) (bool, error) {
	return s.untouchedSince(ctx, shard, seq)
}

// Moved tells the newest sequence of those channels of one shard that have one above after; a pattern stands for
// the channels below it. through is the sequence up to which the answer is complete, 0 when that is unknown.
func (s *Store) Moved(ctx context.Context, shard int, topics []protocol.Topic, after uint64) (newest map[protocol.Topic]uint64, through uint64, err error) {
	names := make(map[string]protocol.Topic, len(topics))
	subjects := make([]string, 0, len(topics))
	for _, t := range topics {
		name := subject.StoredIn(shard, t.Server, t.Channel)
		names[name] = t
		subjects = append(subjects, name)
	}
	newest = map[protocol.Topic]uint64{}
	through, err = s.moved(ctx, shard, subjects, after, func(name string, seq uint64) {
		t, ok := names[name]
		if !ok {
			server, c, err := subject.DecodeStored(name)
			if err != nil {
				return // not ours
			}
			t = protocol.Topic{Server: server, Channel: c}
		}
		newest[t] = max(newest[t], seq)
	})
	s.saw(shard, through)
	return newest, through, err
}

// maxRoom is how many messages one answer of multi_last may have.
const maxRoom = 1024

func (s *Store) moved(ctx context.Context, shard int, subjects []string, after uint64, found func(string, uint64)) (through uint64, err error) {
	from := after + 1
	for {
		fin, err := s.batch(ctx, "moved", shard, query{MultiLast: subjects, Seq: from}, maxRoom, func(m *nats.Msg) {
			found(m.Header.Get(headerSubject), number(m.Header, headerSequence))
		})
		switch {
		case errors.Is(err, errTooMany) && len(subjects) > 1:
			half := len(subjects) / 2
			a, err := s.moved(ctx, shard, subjects[:half], from-1, found)
			if err != nil {
				return 0, err
			}
			b, err := s.moved(ctx, shard, subjects[half:], from-1, found)
			return min(a, b), err
		case errors.Is(err, errTooMany):
			return s.movedOneByOne(ctx, shard, subjects[0], from, found)
		case err != nil:
			return 0, err
		case fin.pending == 0 || fin.last < from:
			return fin.upTo, nil
		}
		from = fin.last + 1 // cut off at pageBytes
	}
}

// movedOneByOne reads every message of a filter that matches too many subjects to be asked for their newest.
func (s *Store) movedOneByOne(ctx context.Context, shard int, filter string, from uint64, found func(string, uint64)) (through uint64, err error) {
	for {
		var n int
		q := query{Next: filter, Seq: from, Batch: pageSize}
		fin, err := s.batch(ctx, "moved", shard, q, pageSize, func(m *nats.Msg) {
			n++
			through = number(m.Header, headerSequence)
			found(m.Header.Get(headerSubject), through)
		})
		if err != nil {
			return 0, err
		}
		if n == 0 || fin.pending == 0 {
			return through, nil
		}
		from = through + 1
	}
}
