package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// shard is what is known of one stream.
type shard struct {
	epoch atomic.Pointer[string]
	last  atomic.Uint64 // the stream had at least this sequence once, in this epoch

	mu    sync.Mutex // serialises refresh; guards what follows
	known record
	wrote time.Time
}

// record is what the meta bucket keeps of a shard, under epoch.<shard>.
type record struct {
	Created    time.Time `json:"created"`
	Generation uint64    `json:"generation"`
	Last       uint64    `json:"last"`
	// Base is set when the stream was moved here from another broker: its epoch goes on.
	Base string `json:"base,omitempty"`
}

// epoch is a short string for one life of a stream.
func (r record) epoch() string { return r.base() + "-" + strconv.FormatUint(r.Generation, 36) }

func (r record) base() string {
	if r.Base != "" {
		return r.Base
	}
	h := fnv.New32a()
	_, _ = h.Write(strconv.AppendInt(nil, r.Created.UnixNano(), 10))
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

const (
	recordEvery   = 10 * time.Second       // how far behind the record's Last may be
	backwardTries = 6                      // a new leader may still be applying what was committed:
	backwardPause = 500 * time.Millisecond // only what stays so for 3 s went backwards
)

// Epoch of a shard as last seen; no I/O.
func (s *Store) Epoch(shard int) string {
	if e := s.shards[shard].epoch.Load(); e != nil {
		return *e
	}
	return ""
}

// EpochOf is the epoch of a topic; that of a pattern stands for all shards.
func (s *Store) EpochOf(t protocol.Topic) string {
	if !t.Channel.IsPattern() {
		return s.Epoch(subject.Shard(t.Server, t.Channel))
	}
	h := fnv.New32a()
	for shard := range subject.Shards {
		_, _ = h.Write([]byte(s.Epoch(shard) + " "))
	}
	return "p" + strconv.FormatUint(uint64(h.Sum32()), 36)
}

// Refresh looks at a shard's stream at its leader: the epoch, and its last sequence.
func (s *Store) Refresh(ctx context.Context, shard int) (epoch string, last uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.refresh(ctx, shard, false); err != nil {
		return "", 0, fmt.Errorf("epoch of %s: %w", subject.Stream(shard), err)
	}
	return s.Epoch(shard), s.shards[shard].last.Load(), nil
}

// saw notes a sequence that the stream had.
func (s *Store) saw(shard int, seq uint64) {
	last := &s.shards[shard].last
	for {
		old := last.Load()
		if seq <= old || last.CompareAndSwap(old, seq) {
			return
		}
	}
}

// refresh compares the stream with what was known of it. The record is read before the stream: otherwise a
// record written in between would look newer than the stream.
func (s *Store) refresh(ctx context.Context, shard int, renew bool) error {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	kv, err := s.js.KeyValue(ctx, subject.BucketMeta)
	if err != nil {
		return fmt.Errorf("meta bucket: %w", err)
	}
	key := "epoch." + strconv.Itoa(shard)
	for try := 0; ; try++ {
		var have record
		var revision uint64
		entry, err := kv.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil:
			return fmt.Errorf("meta bucket: %w", err)
		default:
			revision = entry.Revision()
			if err := json.Unmarshal(entry.Value(), &have); err != nil {
				return fmt.Errorf("meta bucket: %s: %w", key, err)
			}
		}
		floor := have.Last
		if have.Generation == sh.known.Generation && have.Created.Equal(sh.known.Created) {
			floor = max(floor, sh.last.Load()) // nobody else has noticed anything
		}
		state, err := s.info(ctx, shard)
		if err != nil {
			return err
		}
		next := record{Created: state.Created, Generation: have.Generation, Last: max(state.State.LastSeq, have.Last), Base: have.Base}
		switch {
		case revision == 0 || !have.Created.Equal(state.Created):
			next.Generation, next.Last, next.Base = 0, state.State.LastSeq, ""
		case renew:
			next.Generation, next.Last = have.Generation+1, state.State.LastSeq
		case state.State.LastSeq < floor:
			if try < backwardTries && pause(ctx, backwardPause) {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			next.Generation, next.Last = have.Generation+1, state.State.LastSeq
		case have == next || time.Since(sh.wrote) < recordEvery:
			s.adopt(shard, have, state.State.LastSeq)
			return nil
		}
		value, err := json.Marshal(next)
		if err != nil {
			return err
		}
		if revision == 0 {
			_, err = kv.Create(ctx, key, value)
		} else {
			_, err = kv.Update(ctx, key, value, revision)
		}
		switch {
		case err == nil:
			sh.wrote = time.Now()
			s.adopt(shard, next, state.State.LastSeq)
			return nil
		case try > 3*backwardTries:
			return fmt.Errorf("meta bucket: %w", err)
		}
		renew = false // someone else wrote: look again
		if !pause(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// adopt takes over a record; sh.mu is held.
func (s *Store) adopt(shard int, r record, last uint64) {
	sh := &s.shards[shard]
	epoch := r.epoch()
	old := sh.epoch.Load()
	if old == nil || *old != epoch {
		sh.last.Store(last)
		sh.epoch.Store(&epoch)
	} else {
		s.saw(shard, last)
	}
	sh.known = r
	if old != nil && *old != epoch {
		s.metrics.epochs.Inc()
		s.log.Warn("history stream was recreated or went backwards", "stream", subject.Stream(shard), "epoch", epoch)
	}
}
