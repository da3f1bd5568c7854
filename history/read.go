package history

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Bounds of one Read.
const (
	MaxLimit   = 1000
	maxBytes   = 16 << 20 // of frames; the page ends earlier then and says that there is more
	maxScanned = 64 << 10 // messages looked at in one shard for the sake of filters
	shardsOnce = 4        // shards of a pattern read at once
)

// Range says which publications are wanted, oldest first: with After or Since the oldest newer ones, with Before
// the nearest older ones, with none of them the latest ones.
type Range struct {
	Limit     int // at most; default and most MaxLimit
	Before    uint64
	HasBefore bool // Before 0 counts as given: nothing is older
	After     uint64
	HasAfter  bool // After 0 counts as given
	// UpTo leaves out what is newer than this offset; 0 = no bound.
	UpTo  uint64
	Since time.Time
	// NotBefore leaves out what was stored earlier, in whatever direction: it is over its age.
	NotBefore time.Time
	// Window: only the newest so many of the channel count; 0 = all that is kept. Not for patterns.
	Window int
	// Authenticated: false leaves out authenticated-only publications.
	Authenticated bool
	// AimedApart: publications for one user or one socket do not count for Limit. One reading then serves readers of
	// different names: each takes out of it what is not for it, and cuts it to Limit.
	AimedApart bool
	// Allow, when set, tells which channels of a pattern may be seen.
	Allow func(protocol.Channel) bool
}

// Page is an answer.
type Page struct {
	Publications []*protocol.Publication // oldest first
	More         bool                    // in the direction asked for
}

// forward tells the direction in which the range goes.
func (r Range) forward() bool { return r.HasAfter || r.After > 0 || !r.Since.IsZero() }

// begin is the moment from which on publications are wanted; zero = all.
func (r Range) begin() time.Time {
	if r.NotBefore.After(r.Since) {
		return r.NotBefore
	}
	return r.Since
}

// over tells that no entry older than e is shown either.
func (r Range) over(e entry) bool {
	return r.Window > 0 && e.pending >= uint64(r.Window) || e.stored.Before(r.NotBefore)
}

// shows tells whether an entry belongs to the answer.
func (r Range) shows(e entry) bool {
	p := e.pub
	switch {
	case p.Kind == 0, p.Audience.Kind == protocol.Authenticated && !r.Authenticated:
		return false
	case r.Window > 0 && e.pending >= uint64(r.Window):
		return false
	case e.stored.Before(r.begin()):
		return false
	}
	return r.Allow == nil || r.Allow(p.Channel)
}

// counts tells whether an entry that is shown counts for the limit.
func (r Range) counts(e entry) bool { return !r.AimedApart || e.pub.Audience.Kind < protocol.User }

// nearest gives, of entries oldest first, those that are nearest to where the range begins and end with the
// Limit+1st that counts, and how many of them count.
func (r Range) nearest(entries []entry) ([]entry, int) {
	n := 0
	if r.forward() {
		for i, e := range entries {
			if r.counts(e) {
				if n++; n > r.Limit {
					return entries[:i+1], n
				}
			}
		}
		return entries, n
	}
	for i, e := range slices.Backward(entries) {
		if r.counts(e) {
			if n++; n > r.Limit {
				return entries[i:], n
			}
		}
	}
	return entries, n
}

// Read reads a page of a channel or a pattern.
func (s *Store) Read(ctx context.Context, t protocol.Topic, r Range) (Page, error) {
	if err := subject.Check(t.Channel); err != nil {
		return Page{}, fmt.Errorf("%w: %w", ErrRange, err)
	}
	if r.Limit < 0 {
		return Page{}, fmt.Errorf("%w: limit %d", ErrRange, r.Limit)
	}
	if r.Limit == 0 || r.Limit > MaxLimit {
		r.Limit = MaxLimit
	}
	if r.Before == 0 && r.HasBefore {
		return Page{}, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var entries []entry
	var err error
	if t.Channel.IsPattern() {
		r.Window = 0
		entries, err = s.readPattern(ctx, t, r)
	} else {
		entries, err = s.readChannel(ctx, t, r)
	}
	if err != nil {
		return Page{}, fmt.Errorf("read history: %w", err)
	}
	return cut(entries, r), nil
}

// cut makes the page from entries of which up to Limit+1 count; the one too many says that there is more.
func cut(entries []entry, r Range) Page {
	var page Page
	if nearest, n := r.nearest(entries); n > r.Limit {
		page.More = true
		if r.forward() {
			entries = nearest[:len(nearest)-1]
		} else {
			entries = nearest[1:]
		}
	}
	if !r.forward() {
		slices.Reverse(entries) // the byte bound goes from the nearest on
	}
	size := 0
	for i, e := range entries {
		if size += len(e.pub.Frame); size > maxBytes && i > 0 {
			page.More = true
			break
		}
		page.Publications = append(page.Publications, e.pub)
	}
	if !r.forward() {
		slices.Reverse(page.Publications)
	}
	return page
}

// bounds are what a range means in one shard: sequences, and for patterns the exact order at the edges.
type bounds struct {
	from  uint64 // first sequence
	below uint64 // first sequence beyond; 0 = the end
	keep  func(entry) bool
}

func (s *Store) readChannel(ctx context.Context, t protocol.Topic, r Range) ([]entry, error) {
	b := bounds{from: 1}
	for _, limit := range []struct {
		offset, add uint64
	}{{r.Before, 0}, {r.UpTo, 1}} {
		if limit.offset > 0 {
			if seq := max1(sequence(limit.offset) + limit.add); b.below == 0 || seq < b.below {
				b.below = seq
			}
		}
	}
	if r.After > 0 {
		b.from = sequence(r.After) + 1
	}
	return s.tape(t, subject.Shard(t.Server, t.Channel)).collect(ctx, r, b)
}

// sequence of an offset. That of another channel, in another shard, means nothing here; a client that mixes
// channels up still gets a page of the right one.
func sequence(offset uint64) uint64 {
	_, seq := subject.SplitOffset(offset)
	return seq
}

// collect reads entries that the range shows until Limit+1 count, oldest first.
func (tp tape) collect(ctx context.Context, r Range, b bounds) ([]entry, error) {
	if b.below > 0 && b.below <= b.from {
		return nil, nil
	}
	shows := func(e entry) bool { return r.shows(e) && (b.keep == nil || b.keep(e)) }
	if r.forward() {
		return tp.collectForward(ctx, r, b, shows)
	}
	return tp.collectBackward(ctx, r, b, shows)
}

func (tp tape) collectForward(ctx context.Context, r Range, b bounds, shows func(entry) bool) (found []entry, err error) {
	from, counted, size := b.from, 0, 0
	since := r.begin()
	first := !since.IsZero() && b.from <= 1
	for scanned, room := 0, 1; scanned < maxScanned; room = min(2*room, pageSize) { // the more is passed over, the longer the steps
		var entries []entry
		var more bool
		want := room * (r.Limit + 1 - counted)
		if first {
			entries, more, err = tp.pageSince(ctx, since, want)
			first = false
		} else {
			entries, more, err = tp.page(ctx, from, want)
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if b.below > 0 && e.seq >= b.below {
				return found, nil
			}
			from = e.seq + 1
			if !shows(e) {
				continue
			}
			found = append(found, e)
			if r.counts(e) {
				counted++
			}
			if size += len(e.pub.Frame); counted > r.Limit || size > maxBytes+pageBytes {
				return found, nil
			}
		}
		if !more {
			return found, nil
		}
		scanned += len(entries)
	}
	return nil, errScattered
}

// collectBackward reads spans from the end backwards, each forward, until enough was found.
func (tp tape) collectBackward(ctx context.Context, r Range, b bounds, shows func(entry) bool) (found []entry, err error) {
	below, counted, size := b.below, 0, 0
	for scanned, room := 0, 1; scanned < maxScanned; room = min(2*room, pageSize) {
		start, whole, err := tp.seek(ctx, min(room*(r.Limit+1-counted), maxScanned-scanned), below)
		if err != nil {
			return nil, err
		}
		start = max(start, b.from)
		span, seen, hidden, err := tp.span(ctx, start, below, shows, r.over)
		if err != nil {
			return nil, err
		}
		for _, e := range span {
			size += len(e.pub.Frame)
		}
		found, counted = r.nearest(append(span, found...))
		scanned += seen
		switch {
		case counted > r.Limit:
			return found, nil
		case whole, hidden, seen == 0, start <= b.from, size > maxBytes+pageBytes:
			return found, nil
		}
		below = start
	}
	return nil, errScattered
}

// span reads everything from start to below, and keeps what is shown. hidden tells that it reaches beyond the
// window or the age, so that looking further back is in vain.
func (tp tape) span(ctx context.Context, start, below uint64, shows, over func(entry) bool) (found []entry, seen int, hidden bool, err error) {
	for {
		entries, more, err := tp.page(ctx, start, pageSize)
		if err != nil {
			return nil, 0, false, err
		}
		for _, e := range entries {
			if below > 0 && e.seq >= below {
				return found, seen, hidden, nil
			}
			start = e.seq + 1
			seen++
			hidden = hidden || over(e)
			if shows(e) {
				found = append(found, e)
			}
		}
		if !more {
			return found, seen, hidden, nil
		}
	}
}

// readPattern reads each shard and merges by time of storage.
func (s *Store) readPattern(ctx context.Context, t protocol.Topic, r Range) ([]entry, error) {
	var before, after, upTo moment
	for _, m := range []struct {
		moment *moment
		offset uint64
	}{{&before, r.Before}, {&after, r.After}, {&upTo, r.UpTo}} {
		if m.offset == 0 {
			continue
		}
		var err error
		if *m.moment, err = s.momentOf(ctx, m.offset); err != nil {
			return nil, err
		}
	}
	covered := func(e entry) bool {
		return t.Channel.Covers(e.pub.Channel) &&
			(before.offset == 0 || e.before(before.stored, before.offset)) &&
			(upTo.offset == 0 || !upTo.before(e)) &&
			(after.offset == 0 || after.before(e))
	}
	var parts [subject.Shards][]entry
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(shardsOnce)
	for shard := range subject.Shards {
		group.Go(func() (err error) {
			b := bounds{from: 1, keep: covered}
			if after.offset > 0 {
				if b.from, err = s.seqAt(ctx, shard, after.stored); err != nil {
					return err
				}
			}
			for _, m := range []moment{before, upTo} {
				if m.offset == 0 {
					continue
				}
				below, err := s.seqAt(ctx, shard, m.stored.Add(1))
				if err != nil {
					return err
				}
				if below > 0 && (b.below == 0 || below < b.below) {
					b.below = below
				}
			}
			if after.offset > 0 && b.from == 0 {
				return nil // nothing that new
			}
			parts[shard], err = s.tape(t, shard).collect(ctx, r, b)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // Read adds the context
	}
	return merge(parts[:], r), nil
}

// merge gives the entries nearest to where the range begins, up to the Limit+1st that counts.
func merge(parts [][]entry, r Range) []entry {
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(a, b entry) int {
		if a.before(b.stored, b.pub.Offset) {
			return -1
		}
		return 1
	})
	all, _ = r.nearest(all)
	return all
}

// moment is an offset's place in the order of patterns.
type moment struct {
	stored time.Time
	offset uint64
}

// before tells whether the entry comes behind the moment.
func (m moment) before(e entry) bool {
	if c := m.stored.Compare(e.stored); c != 0 {
		return c < 0
	}
	return m.offset < e.pub.Offset
}
