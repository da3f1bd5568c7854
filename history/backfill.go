package history

import (
	"context"
	"errors"

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

// LeaderNext is the first publication of a topic in one shard with a sequence above after, as the stream's
// leader knows it; nil when there is none.
func (s *Store) LeaderNext(ctx context.Context, t protocol.Topic, shard int, after uint64) (*protocol.Publication, error) {
	e, ok, err := s.leader(ctx, shard, query{Next: subject.StoredIn(shard, t.Server, t.Channel), Seq: after + 1})
	if err != nil || !ok {
		return nil, err
	}
	return e.pub, nil
}

// Moved tells the newest sequence of those channels of one shard that have one above after. through is the
// sequence up to which the answer is complete, 0 when that is unknown.
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
		if t, ok := names[name]; ok && seq > newest[t] {
			newest[t] = seq
		}
	})
	s.saw(shard, through)
	return newest, through, err
}

func (s *Store) moved(ctx context.Context, shard int, subjects []string, after uint64, found func(string, uint64)) (uint64, error) {
	from := after + 1
	for {
		fin, err := s.batch(ctx, "moved", shard, query{MultiLast: subjects, Seq: from}, len(subjects), func(m *nats.Msg) {
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
		case err != nil:
			return 0, err
		case fin.pending == 0 || fin.last < from:
			return fin.upTo, nil
		}
		from = fin.last + 1 // cut off at pageBytes
	}
}
