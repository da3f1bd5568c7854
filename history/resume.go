package history

import (
	"context"
	"fmt"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Resume gives what a subscriber at position from has missed, oldest first, up to offset upTo (0 = to the end).
// whole is true only when it is proved that nothing is missing: not with another epoch, not when something was
// trimmed or purged, not for an offset that never was, not for more than max publications, not for a pattern.
func (s *Store) Resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, max int) (pubs []*protocol.Publication, whole bool, err error) {
	return s.ResumeWithin(ctx, t, from, upTo, max, time.Time{})
}

// ResumeWithin is Resume for a channel whose publications are over when they were stored before a moment: nothing
// that is over is given, and a message that is over proves nothing, since those behind it may have gone sooner.
func (s *Store) ResumeWithin(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, max int, notBefore time.Time) (pubs []*protocol.Publication, whole bool, err error) {
	if err := subject.Check(t.Channel); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrRange, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	pubs, whole, err = s.resume(ctx, t, from, upTo, max, notBefore)
	if err != nil {
		return nil, false, fmt.Errorf("resume: %w", err)
	}
	s.metrics.resumes.WithLabelValues(label(whole)).Inc()
	if !whole {
		pubs = nil
	}
	return pubs, whole, nil
}

func (s *Store) resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, max int, notBefore time.Time) ([]*protocol.Publication, bool, error) {
	shard := subject.Shard(t.Server, t.Channel)
	fromShard, fromSeq := subject.SplitOffset(from.Offset)
	toShard, toSeq := subject.SplitOffset(upTo)
	switch {
	case t.Channel.IsPattern():
		return nil, false, nil
	case from.Epoch != "" && from.Epoch != s.Epoch(shard):
		return nil, false, nil
	case from.Offset > 0 && fromShard != shard, upTo > 0 && toShard != shard:
		return nil, false, nil
	}
	tp := s.tape(t, shard)
	if upTo == 0 {
		e, _, err := s.newest(ctx, shard, tp.filter)
		if err != nil {
			return nil, false, err
		}
		toSeq = e.seq
	}
	r := reader{tp: tp, begin: fromSeq, last: fromSeq, to: toSeq, max: max, notBefore: notBefore}
	if err := r.run(ctx); err != nil {
		return nil, false, err
	}
	switch {
	case r.tooMany, r.torn, r.over:
		return nil, false, nil
	case r.anchored:
		return r.pubs, true, nil
	}
	untouched, err := s.untouchedSince(ctx, shard, fromSeq)
	return r.pubs, untouched, err
}

// reader reads a channel's messages behind begin up to to. Each page begins with the message read last, so that
// the same answer shows that nothing was removed in between.
type reader struct {
	tp        tape
	begin, to uint64
	last      uint64 // sequence read last
	max       int
	notBefore time.Time

	pubs     []*protocol.Publication
	anchored bool // the message begin itself was read, together with what follows, and is not over
	over     bool // something that was missed is over
	torn     bool // something was removed while reading
	tooMany  bool
}

func (r *reader) run(ctx context.Context) error {
	for wait := 2 * time.Millisecond; ; {
		progress, more, err := r.page(ctx)
		if err != nil {
			return err
		}
		switch {
		case r.torn, r.tooMany, r.over, r.last >= r.to && r.begin < r.to, r.anchored && r.begin >= r.to:
			return nil
		case r.begin >= r.to: // nothing was missed, but was the message there? This replica may lag.
			e, ok, err := r.tp.s.leader(ctx, r.tp.shard, query{Next: r.tp.filter, Seq: max1(r.begin)})
			r.anchored = ok && e.seq == r.begin && !e.stored.Before(r.notBefore)
			return err
		case more && progress:
			continue
		}
		// The replica has no more. Either it lags, or there is no message at to: a position may be the end of a
		// whole stream, and what was there may have been removed. The leader knows.
		e, ok, err := r.tp.s.leader(ctx, r.tp.shard, query{Next: r.tp.filter, Seq: r.last + 1})
		if err != nil || !ok || e.seq > r.to {
			return err
		}
		if !pause(ctx, wait) {
			return unavailable(context.Cause(ctx))
		}
		wait = min(2*wait, 100*time.Millisecond)
	}
}

// page reads one page; progress tells that it brought something new.
func (r *reader) page(ctx context.Context) (progress, more bool, err error) {
	start := max1(r.last)
	entries, more, err := r.tp.page(ctx, start, min(r.max-len(r.pubs)+2, pageSize))
	if err != nil {
		return false, false, err
	}
	held := len(entries) > 0 && entries[0].seq == r.last
	switch {
	case held && r.last == r.begin:
		r.anchored = !entries[0].stored.Before(r.notBefore)
	case !held && len(entries) > 0 && r.last > r.begin:
		r.torn = true
		return false, false, nil
	}
	for _, e := range entries {
		if e.seq <= r.last {
			continue
		}
		if e.seq > r.to {
			r.last = r.to // nothing between
			return true, false, nil
		}
		if r.over = r.over || e.stored.Before(r.notBefore); e.pub.Kind != 0 {
			if len(r.pubs) == r.max {
				r.tooMany = true
				return true, false, nil
			}
			r.pubs = append(r.pubs, e.pub)
		}
		r.last = e.seq
		progress = true
	}
	return progress, more, nil
}

// untouchedSince tells whether it is certain that no message behind a sequence was ever removed from a shard:
// then whoever was there missed nothing that cannot be read, whatever the channel.
func (s *Store) untouchedSince(ctx context.Context, shard int, seq uint64) (bool, error) {
	for range 4 {
		before, err := s.info(ctx, shard)
		if err != nil {
			return false, err
		}
		state := before.State
		switch {
		case seq > state.LastSeq:
			return false, nil // never was
		case seq == state.LastSeq, state.NumDeleted == 0 && state.FirstSeq <= seq+1:
			return true, nil
		case state.FirstSeq > seq+1:
			return false, nil
		}
		// No replica is ahead of the leader: when one has as many messages behind seq as there are sequences at
		// the leader, before and after, then it has them all.
		_, n, err := tape{s: s, shard: shard, filter: subject.StreamSubjects(shard)}.count(ctx, seq+1)
		if err != nil {
			return false, err
		}
		after, err := s.info(ctx, shard)
		if err != nil {
			return false, err
		}
		if after.State.LastSeq == state.LastSeq {
			if n == state.LastSeq-seq {
				return true, nil
			}
			if s.o.Replicas == 1 {
				return false, nil
			}
		}
	}
	return false, nil
}
