package broker

import (
	"context"
	"slices"
	"time"

	"fanfare/internal/subject"
)

// reposition starts feeds over when their stream has another epoch than they began with.
func (s *sweeper) reposition(ctx context.Context, shard int, epoch string, feeds, patterns []*Feed) {
	for _, f := range slices.Concat(feeds, patterns) {
		f.mu.Lock()
		began := f.chain.epoch
		if f.pattern {
			began = f.below.epochs[shard]
		}
		stale := f.stored && f.ready.Load() && began != epoch && began != ""
		f.mu.Unlock()
		if stale {
			s.startOver(ctx, shard, f)
		}
	}
}

// startOver positions a feed anew and tells that something may be missing.
func (s *sweeper) startOver(ctx context.Context, shard int, f *Feed) {
	f.setup.Lock()
	defer f.setup.Unlock()
	f.mu.Lock()
	if !f.stored || f.closed.Load() {
		f.mu.Unlock()
		return
	}
	old := f.chain.last
	f.chain.last, f.chain.held, f.chain.target, f.chain.holding = 0, nil, 0, true
	if f.pattern {
		f.below.forget()
		f.below.holding = true
	}
	f.sink.Gap(f.topic.Channel, subject.Offset(f.shard, old), 0)
	f.mu.Unlock()
	s.b.metrics.resets.Inc()
	look, cancel := context.WithTimeout(ctx, sweepWait)
	defer cancel()
	if err := f.position(look); err != nil && ctx.Err() == nil {
		s.b.log.Warn("topic cannot be positioned", "channel", f.topic.Channel, "err", err)
		f.mu.Lock()
		f.chain.epoch = unknownEpoch // try again with the next check
		if f.pattern {
			f.below.epochs[shard] = unknownEpoch
		}
		f.mu.Unlock()
		s.suspect(shard, time.Second)
	}
}
