package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"fanfare/protocol"
)

// fold is what the keeper knows from reading all servers' events in their order.
type fold struct {
	next    uint64 // sequence to go on at
	live    bool   // the stream's end was reached
	servers map[protocol.ServerID]*house
	began   time.Time // when everything was told again
}

// house is one realtime server's channels.
type house struct {
	seq     uint64 // of the last derived message
	upTo    uint64 // what has been written follows from the events up to there
	members map[protocol.Channel]map[protocol.SessionID]bool
	said    map[protocol.Channel]bool // occupied, as far as has been written
	out     []Event                   // to be written
}

func newFold() *fold {
	return &fold{next: 1, servers: map[protocol.ServerID]*house{}, began: time.Now()}
}

func (f *fold) house(id protocol.ServerID) *house {
	h := f.servers[id]
	if h == nil {
		h = &house{members: map[protocol.Channel]map[protocol.SessionID]bool{}, said: map[protocol.Channel]bool{}}
		f.servers[id] = h
	}
	return h
}

// derive reads what is new and writes what follows from it. After any failure it begins again from the start of the
// stream, since it cannot know what was stored.
func (k *keeper) derive(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			k.fold = nil
		}
	}()
	var floor uint64
	if k.fold == nil {
		// A replica may be behind: what a keeper before us has written must have been read.
		s, err := k.info(ctx, "")
		if err != nil {
			return err
		}
		floor = s.LastSeq
		k.fold = newFold()
		if err := k.read(ctx, subjectPrefix+"*."+derived, 1, floor, func(m stored) error { k.fold.said(m); return nil }); err != nil {
			return err
		}
	}
	f := k.fold
	if err := k.read(ctx, subjectPrefix+">", f.next, floor, f.read); err != nil {
		return err
	}
	if !f.live {
		f.live = true
		for _, h := range f.servers { // the leaves of some may have been removed
			h.compare(millis(time.Now()))
		}
	}
	if time.Since(f.began) > k.o.Retention/2 {
		f.began = time.Now()
		for _, h := range f.servers {
			for c := range h.said {
				h.out = append(h.out, Event{Type: Occupied, At: millis(f.began), Channel: c, Repeated: true})
			}
		}
	}
	return k.writeDerived(ctx, f)
}

// read gives all messages of a filter from a sequence on to each, at least as far as floor.
func (k *keeper) read(ctx context.Context, filter string, from, floor uint64, each func(stored) error) error {
	for {
		page, more, err := k.page(ctx, filter, from, time.Time{})
		if err != nil {
			return err
		}
		for _, m := range page {
			from = m.seq + 1
			if err := each(m); err != nil {
				return err
			}
		}
		if more {
			continue
		}
		if from > floor {
			return nil
		}
		// Either the replica is behind, or nothing else up to floor belongs to the filter.
		last, _, err := k.page(ctx, subjectPrefix+">", floor, time.Time{})
		if err != nil {
			return err
		}
		if len(last) == 0 {
			s, err := k.info(ctx, "")
			if err != nil {
				return err
			}
			if s.FirstSeq <= floor {
				if !wait(ctx, firstPause) {
					return ctx.Err()
				}
				continue
			}
		}
		floor = 0 // there now: one more look, at a replica that may be another one
		if !wait(ctx, firstPause) {
			return ctx.Err()
		}
	}
}

// said takes a derived message in.
func (f *fold) said(m stored) {
	server, _, ok := parseSubject(m.subject)
	b, err := decodeBatch(m.body)
	if !ok || err != nil {
		return
	}
	h := f.house(server)
	h.seq, h.upTo = m.seq, max(h.upTo, b.UpTo)
	for i := range b.Events {
		if e := &b.Events[i]; e.Type == Occupied {
			h.said[e.Channel] = true
		} else {
			delete(h.said, e.Channel)
		}
	}
}

// read folds one message. errMoved: another keeper is at work, and what this one has to say must be thought over.
func (f *fold) read(m stored) error {
	f.next = m.seq + 1
	server, writer, ok := parseSubject(m.subject)
	if !ok {
		return nil
	}
	h := f.house(server)
	if writer == derived {
		if m.seq > h.seq {
			return errMoved
		}
		return nil // known, or our own
	}
	b, err := decodeBatch(m.body)
	if err != nil {
		return nil //nolint:nilerr // logged by readers
	}
	for i := range b.Events {
		h.apply(&b.Events[i], m.seq > h.upTo)
	}
	return nil
}

func (h *house) apply(e *Event, tell bool) {
	switch e.Type {
	case Join:
		if h.members[e.Channel] == nil {
			h.members[e.Channel] = map[protocol.SessionID]bool{}
		}
		h.members[e.Channel][e.Session] = true
		if tell {
			h.settle(e.Channel, e.At)
		}
	case Leave:
		h.remove(e.Channel, e.Session)
		if tell {
			h.settle(e.Channel, e.At)
		}
	case Lost:
		// Channels may be vacated and occupied again here: for a moment nothing is known of them.
		for c, members := range h.members {
			for s := range members {
				if protocol.NodeOf(s) == e.Gateway {
					h.remove(c, s)
				}
			}
		}
		if tell {
			h.compare(e.At)
		}
	case Connect, Disconnect, Occupied, Vacated:
	}
}

func (h *house) remove(c protocol.Channel, s protocol.SessionID) {
	if members := h.members[c]; members != nil {
		if delete(members, s); len(members) == 0 {
			delete(h.members, c)
		}
	}
}

// settle says what is true of a channel, unless it has been said.
func (h *house) settle(c protocol.Channel, at int64) {
	switch occupied := len(h.members[c]) > 0; {
	case occupied && !h.said[c]:
		h.said[c] = true
		h.out = append(h.out, Event{Type: Occupied, At: at, Channel: c})
	case !occupied && h.said[c]:
		delete(h.said, c)
		h.out = append(h.out, Event{Type: Vacated, At: at, Channel: c})
	}
}

// compare settles every channel.
func (h *house) compare(at int64) {
	for c := range h.members {
		h.settle(c, at)
	}
	for c := range h.said {
		h.settle(c, at)
	}
}

// writeDerived stores what the fold has to say.
func (k *keeper) writeDerived(ctx context.Context, f *fold) error {
	for server, h := range f.servers {
		for len(h.out) > 0 {
			n := min(len(h.out), batchMax)
			b := batch{Version: batchVersion, By: k.o.Node, Number: k.number.Add(1), Events: h.out[:n]}
			if n == len(h.out) {
				b.UpTo = f.next - 1
			}
			body, err := json.Marshal(b)
			if err != nil {
				return fmt.Errorf("lifecycle: %w", err)
			}
			if h.seq, err = k.put(ctx, subjectOf(server, derived), body, h.seq); err != nil {
				return err
			}
			for i := range b.Events {
				k.metrics.written.WithLabelValues(string(b.Events[i].Type)).Inc()
			}
			h.out = h.out[n:]
		}
		h.out = nil
	}
	return nil
}
