package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/protocol"
)

// Read gives the events of a server behind a cursor, oldest first, at most limit; an empty cursor is the oldest
// event within the retention. Without any it answers an empty list and the cursor it was given: at once, or with wait when ctx ends.
func (l *Log) Read(ctx context.Context, server protocol.ServerID, after string, limit int, waiting bool) ([]Entry, string, error) {
	from, err := parseCursor(after)
	if err != nil {
		return nil, "", err
	}
	var news chan struct{}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		out, err := l.read(ctx, server, from, limit)
		switch {
		case err != nil && news != nil && ctx.Err() != nil: // the wait was over while it looked again
			return nil, after, nil
		case err != nil:
			return nil, "", err
		case len(out) > 0:
			return out, out[len(out)-1].Cursor, nil
		case !waiting:
			return nil, after, nil
		}
		if news == nil { // and look once more, for what came before the subscription
			news = make(chan struct{}, 1)
			sub, err := l.o.Reads.Subscribe(noticePrefix+subjectOf(server, "*")[len(subjectPrefix):], func(*nats.Msg) {
				select {
				case news <- struct{}{}:
				default:
				}
			})
			if err != nil {
				return nil, "", fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			defer func() { _ = sub.Unsubscribe() }()
			continue
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, after, nil
		case <-news:
			pause = firstPause / 2 // the replica that is asked may be behind for a moment
		case <-t.C:
		}
		t.Stop()
	}
}

func (l *Log) read(ctx context.Context, server protocol.ServerID, from cursor, limit int) ([]Entry, error) {
	filter := subjectOf(server, "*")
	var out []Entry
	for seq, first := from.seq, true; ; first = false {
		page, more, err := l.page(ctx, filter, seq, time.Now().Add(-l.o.Retention))
		if err != nil {
			return nil, err
		}
		if first && from.seq > 0 {
			if err := l.kept(ctx, from, page); err != nil {
				return nil, err
			}
		}
		for _, m := range page {
			seq = m.seq + 1
			b, err := decodeBatch(m.body)
			if err != nil {
				l.log.Warn("lifecycle message skipped", "sequence", m.seq, "err", err)
				continue
			}
			for i, e := range b.Events {
				if m.seq == from.seq && i <= from.index {
					continue
				}
				out = append(out, Entry{Event: e, Cursor: cursor{m.seq, i}.String()})
				if len(out) == limit {
					return out, nil
				}
			}
		}
		if !more {
			return out, nil
		}
	}
}

// kept tells whether everything behind a cursor is still there. The message it points into is the proof, or that
// nothing at all behind it has been removed. page begins at the cursor.
func (l *Log) kept(ctx context.Context, from cursor, page []stored) error {
	next := page
	if len(page) > 0 && page[0].seq == from.seq {
		next = page[1:]
	} else {
		s, err := l.info(ctx, "")
		if err != nil {
			return err
		}
		switch {
		case from.seq > s.LastSeq: // of another stream, or one that has lost its end
			return ErrCursorExpired
		case s.FirstSeq > from.seq+1:
			return ErrCursorExpired
		}
	}
	// Older ones are kept only so that lost gateways can be ended: their like may be gone already. Half a retention
	// is the time that a reader from the start has to come so far.
	if len(next) > 0 && time.Since(next[0].at) > l.o.Retention*3/2 {
		return ErrCursorExpired
	}
	return nil
}
