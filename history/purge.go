package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// purgeRequest is the body of STREAM.PURGE.
type purgeRequest struct {
	Filter string `json:"filter"`
	Keep   uint64 `json:"keep,omitempty"`
	Below  uint64 `json:"seq,omitempty"` // sequences from here on stay
}

// Purge removes everything of a channel, or of all channels a pattern covers.
func (s *Store) Purge(ctx context.Context, t protocol.Topic) error {
	if err := subject.Check(t.Channel); err != nil {
		return fmt.Errorf("%w: %w", ErrRange, err)
	}
	if !t.Channel.IsPattern() {
		shard := subject.Shard(t.Server, t.Channel)
		return s.purge(ctx, shard, purgeRequest{Filter: subject.StoredIn(shard, t.Server, t.Channel)})
	}
	for shard := range subject.Shards {
		if err := s.purge(ctx, shard, purgeRequest{Filter: subject.StoredIn(shard, t.Server, t.Channel)}); err != nil {
			return err
		}
	}
	return nil
}

// PurgeIf removes what was stored of a channel, or of those channels a pattern covers, before the moment that forget
// tells; the zero one stands for everything, false for nothing.
func (s *Store) PurgeIf(ctx context.Context, t protocol.Topic, forget func(protocol.Channel) (before time.Time, yes bool)) error {
	purge := func(c protocol.Channel) error {
		if before, yes := forget(c); yes {
			return s.purgeBefore(ctx, protocol.Topic{Server: t.Server, Channel: c}, before)
		}
		return nil
	}
	if !t.Channel.IsPattern() {
		return purge(t.Channel)
	}
	for shard := range subject.Shards {
		var channels []protocol.Channel
		for offset := 0; ; {
			state, err := s.infoOf(ctx, shard, subjectsRequest{Filter: subject.StoredIn(shard, t.Server, t.Channel), Offset: offset})
			if err != nil {
				return fmt.Errorf("purge: %w", err)
			}
			for name := range state.State.Subjects {
				if _, c, err := subject.DecodeStored(name); err == nil && t.Channel.Covers(c) {
					channels = append(channels, c)
				}
			}
			if offset += len(state.State.Subjects); len(state.State.Subjects) < subjectsPage {
				break
			}
		}
		for _, c := range channels {
			if err := purge(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// purgeBefore removes what was stored of a channel before a moment; the zero one stands for everything. The leader says
// whether the channel has something newer. If so the replica that is asked where that begins knows it, or will.
func (s *Store) purgeBefore(ctx context.Context, t protocol.Topic, before time.Time) error {
	if before.IsZero() {
		return s.Purge(ctx, t)
	}
	shard := subject.Shard(t.Server, t.Channel)
	filter := subject.StoredIn(shard, t.Server, t.Channel)
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		newest, ok, err := s.leader(ctx, shard, query{Last: filter})
		switch {
		case err != nil:
			return fmt.Errorf("purge: %w", err)
		case !ok:
			return nil
		case newest.stored.Before(before):
			return s.purge(ctx, shard, purgeRequest{Filter: filter, Below: newest.seq + 1})
		}
		begin, err := s.seqAt(ctx, shard, before)
		if err != nil {
			return fmt.Errorf("purge: %w", err)
		}
		if begin > 0 {
			return s.purge(ctx, shard, purgeRequest{Filter: filter, Below: begin})
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("purge: %w", unavailable(context.Cause(ctx)))
		}
	}
}

// subjectsPage is how many subjects an answer of STREAM.INFO has at most.
const subjectsPage = 100_000

// PurgeServer removes everything of a realtime server.
func (s *Store) PurgeServer(ctx context.Context, server protocol.ServerID) error {
	for shard := range subject.Shards {
		if err := s.purge(ctx, shard, purgeRequest{Filter: subject.StoredServer(shard, server)}); err != nil {
			return err
		}
	}
	return nil
}

// Trim keeps the newest keep publications of a channel.
func (s *Store) Trim(ctx context.Context, server protocol.ServerID, c protocol.Channel, keep int) error {
	if keep <= 0 {
		return s.Purge(ctx, protocol.Topic{Server: server, Channel: c})
	}
	shard := subject.Shard(server, c)
	return s.purge(ctx, shard, purgeRequest{Filter: subject.Stored(server, c), Keep: uint64(keep)})
}

func (s *Store) purge(ctx context.Context, shard int, r purgeRequest) error {
	var answer struct {
		Success bool      `json:"success"`
		Error   *apiError `json:"error"`
	}
	err := s.api(ctx, "purge", "STREAM.PURGE", subject.Stream(shard), r, &answer)
	switch {
	case err != nil:
		return fmt.Errorf("purge: %w", err)
	case answer.Error != nil:
		return fmt.Errorf("purge: %w", answer.Error.err())
	case !answer.Success:
		return fmt.Errorf("purge: %w", ErrRefused)
	}
	return nil
}

// Bounds of trimming in the background.
const (
	maxTrims   = 1024
	trimsAtime = 4
	trimWait   = 5 * time.Second
)

// trimQueue holds the channels to be trimmed, each once.
type trimQueue struct {
	mu   sync.Mutex
	keep map[protocol.Topic]int
	wake chan struct{}
}

func newTrimQueue() *trimQueue {
	return &trimQueue{keep: map[protocol.Topic]int{}, wake: make(chan struct{}, 1)}
}

// add is false when the queue is full.
func (q *trimQueue) add(t protocol.Topic, keep int) bool {
	q.mu.Lock()
	_, there := q.keep[t]
	if !there && len(q.keep) >= maxTrims {
		q.mu.Unlock()
		return false
	}
	q.keep[t] = keep
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

func (q *trimQueue) take() map[protocol.Topic]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.keep
	q.keep = map[protocol.Topic]int{}
	return all
}

// Stored is to be called after each stored publication, with the rule's history: with a chance of one in keep it
// has the channel trimmed in the background, so that a channel holds about twice its history at most. It never
// blocks; when too many wait, the channel is trimmed another time.
func (s *Store) Stored(server protocol.ServerID, c protocol.Channel, keep int) {
	if keep <= 0 || keep >= MaxPerChannel || rand.IntN(keep) != 0 {
		return
	}
	if !s.trims.add(protocol.Topic{Server: server, Channel: c}, keep) {
		s.metrics.trims.WithLabelValues("skipped").Inc()
	}
}

// Run trims in the background until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	slots := make(chan struct{}, trimsAtime)
	defer workers.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.trims.wake:
		}
		for t, keep := range s.trims.take() {
			select {
			case <-ctx.Done():
				return nil
			case slots <- struct{}{}:
			}
			workers.Go(func() {
				defer func() { <-slots }()
				once, cancel := context.WithTimeout(ctx, trimWait)
				defer cancel()
				result := "done"
				if err := s.Trim(once, t.Server, t.Channel, keep); err != nil {
					result = "failed"
					s.log.Debug("trim", "channel", t.Channel, "err", err)
				}
				s.metrics.trims.WithLabelValues(result).Inc()
			})
		}
	}
}
