package history

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"fanfare/internal/subject"
)

// MovedFrom tells a Store, after Ensure, that its streams were copied from those of another one: the epochs go on, so
// that what clients hold keeps its meaning. Nothing may have been stored in between.
func (s *Store) MovedFrom(ctx context.Context, from *Store) error {
	old, err := from.js.KeyValue(ctx, subject.BucketMeta)
	if err != nil {
		return fmt.Errorf("meta bucket of the source: %w", err)
	}
	kv, err := s.js.KeyValue(ctx, subject.BucketMeta)
	if err != nil {
		return fmt.Errorf("meta bucket: %w", err)
	}
	for shard := range subject.Shards {
		key := "epoch." + strconv.Itoa(shard)
		entry, err := old.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("%s of the source: %w", key, err)
		}
		var r record
		if err := json.Unmarshal(entry.Value(), &r); err != nil {
			return fmt.Errorf("%s of the source: %w", key, err)
		}
		state, err := s.info(ctx, shard)
		if err != nil {
			return err
		}
		if r.Last > state.State.LastSeq {
			return fmt.Errorf("%s has %d messages, the source had %d", subject.Stream(shard), state.State.LastSeq, r.Last)
		}
		r.Base, r.Created, r.Last = r.base(), state.Created, state.State.LastSeq
		value, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if _, err := kv.Put(ctx, key, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if err := s.refresh(ctx, shard, false); err != nil {
			return err
		}
	}
	return nil
}
