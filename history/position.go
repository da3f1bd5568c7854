package history

import (
	"context"
	"fmt"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Position is the end of a topic: that of its newest stored publication or, when nothing is stored, a recent end
// of its stream, so that whoever joins an empty channel can prove later that nothing was missed. It may be behind
// when a replica lags. A pattern has an epoch only.
func (s *Store) Position(ctx context.Context, t protocol.Topic) (protocol.Position, error) {
	if t.Channel.IsPattern() {
		return protocol.Position{Epoch: s.EpochOf(t)}, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	shard := subject.Shard(t.Server, t.Channel)
	pos := protocol.Position{Epoch: s.Epoch(shard)}
	filter := subject.StoredIn(shard, t.Server, t.Channel)
	e, ok, err := s.newest(ctx, shard, filter)
	if err != nil {
		return pos, fmt.Errorf("position: %w", err)
	}
	if !ok {
		// The stream had this sequence before the leader is asked. When the leader has nothing of the channel,
		// whatever comes has a higher one.
		end := s.shards[shard].last.Load()
		e, ok, err = s.leader(ctx, shard, query{Last: filter})
		if err != nil {
			return pos, nil //nolint:nilerr // an election: 0 is right too, only of less use
		}
		if !ok {
			e.seq = end
		}
	}
	s.saw(shard, e.seq)
	pos.Offset = subject.Offset(shard, e.seq)
	return pos, nil
}
