package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// read gives stored publications of the topic to a session: from the ring when it has them, otherwise from the
// store, where one reading serves all who ask for the same at the same time (joinstorms after a restart).
func (t *topic) read(ctx context.Context, s *Session, rule *policy.Rule, ask protocol.HistoryRequest, upTo uint64) ([]*protocol.Publication, bool, error) {
	limit := min(rule.History, t.hub.gw.opts.Limits.HistoryFrames)
	if ask.Limit > 0 {
		limit = min(limit, ask.Limit)
	}
	if limit == 0 {
		return nil, false, nil
	}
	identity := s.Identity()
	latest := !ask.HasBefore && !ask.HasAfter && ask.Since.IsZero()
	if latest && !t.pattern() && t.catchUp(ctx, 0) {
		if err := t.loadRing(ctx); err != nil {
			return nil, false, err
		}
		t.mu.Lock()
		pubs, more, ok := t.latestLocked(identity, s.id, rule, limit, upTo, ask.Paged)
		t.mu.Unlock()
		if ok {
			return pubs, more, nil
		}
	}
	r := Range{
		Limit: limit, Before: ask.Before, HasBefore: ask.HasBefore, After: ask.After, HasAfter: ask.HasAfter, Since: ask.Since,
		UpTo: upTo, Window: rule.History, NotBefore: rule.KeptFrom(), MaxAge: maxAge(rule), Authenticated: identity.Authenticated, AimedApart: true,
	}
	forward := ask.HasAfter || !ask.Since.IsZero()
	for {
		page, err := t.hub.reads.do(ctx, t, r)
		if err != nil {
			return nil, false, err
		}
		pubs := make([]*protocol.Publication, 0, min(limit, len(page.Publications)))
		for _, p := range page.Publications {
			if mayRead(identity, s.id, p) && (!t.pattern() || p.Audience.Kind < protocol.User) { // what is aimed does not reach a pattern
				pubs = append(pubs, p)
			}
		}
		switch n := len(page.Publications); {
		case len(pubs) > limit && forward:
			return pubs[:limit], true, nil
		case len(pubs) > limit:
			return pubs[len(pubs)-limit:], true, nil
		case len(pubs) > 0 || !page.More || n == 0:
			return pubs, page.More, nil
		case forward: // a page full of what is for others
			r.After, r.HasAfter = page.Publications[n-1].Offset, true
		default:
			r.Before, r.HasBefore = page.Publications[0].Offset, true
		}
	}
}

// maxAge is how old stored publications may become; 0 = no age limit.
func maxAge(rule *policy.Rule) time.Duration { return time.Duration(rule.HistoryTTL) * time.Second }

// owns tells whether a channel below the pattern belongs to it: its own rule is the pattern's.
func (t *topic) owns(channel protocol.Channel) bool {
	server := t.hub.gw.settings.Current().ByID(t.key.Server)
	return server != nil && sameRule(server.Rule(channel), t.rule.Load())
}

// latestLocked answers from the ring when it reaches far enough; paged: more has to be known.
func (t *topic) latestLocked(identity *protocol.Identity, id protocol.SessionID, rule *policy.Rule, limit int, upTo uint64, paged bool) (out []*protocol.Publication, more, ok bool) {
	pubs := t.ring.pubs
	for upTo > 0 && len(pubs) > 0 && pubs[len(pubs)-1].Offset > upTo {
		pubs = pubs[:len(pubs)-1]
	}
	if kept := len(pubs) - rule.History; kept > 0 {
		pubs = pubs[kept:]
	}
	whole := t.ring.full || len(pubs) >= rule.History // nothing the channel keeps is missing here
	ttl := maxAge(rule)
	out = make([]*protocol.Publication, 0, min(limit, len(pubs)))
	for _, p := range slices.Backward(pubs) {
		if ttl > 0 && time.Since(p.Accepted) > ttl || !mayRead(identity, id, p) {
			continue
		}
		if len(out) == limit {
			more = true
			break
		}
		out = append(out, p)
	}
	if !whole && !more && (len(out) < limit || paged) {
		return nil, false, false
	}
	slices.Reverse(out)
	return out, more, true
}

// loadRing reads what the store had before this node listened, once for all who ask for it.
func (t *topic) loadRing(ctx context.Context) error {
	t.mu.Lock()
	floor, most := t.ring.floor, t.ring.max
	done := t.ring.loaded || most <= len(t.ring.pubs)
	t.mu.Unlock()
	if done {
		return nil
	}
	page, err := t.hub.reads.do(ctx, t, Range{Limit: most, UpTo: floor, NotBefore: t.rule.Load().KeptFrom(), Authenticated: true})
	if err != nil {
		return err
	}
	t.mu.Lock()
	if !t.ring.loaded {
		t.ring.prepend(page.Publications, floor, !page.More)
	}
	t.mu.Unlock()
	return nil
}

// reads are the readings of history under way: equal ones are done once, and only so many at a time.
type reads struct {
	hub     *Hub
	slots   chan struct{}
	mu      sync.Mutex
	flights map[flightKey]*flight
}

type flightKey struct {
	topic *topic
	want  Range
}

// flight is one reading for all who want the same.
type flight struct {
	done chan struct{}
	page Page
	err  error
}

// maxReads is how many readings of history a gateway has under way at once.
const maxReads = 64

// do shares a reading with those who want the same; one without an upper end only has company that asked before
// it began, which is nobody: what it leaves out may have been delivered to the others already.
func (r *reads) do(ctx context.Context, t *topic, want Range) (Page, error) {
	if want.UpTo == 0 {
		return r.read(ctx, t, want)
	}
	r.mu.Lock()
	f := r.flights[flightKey{t, want}]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		r.flights[flightKey{t, want}] = f
		r.hub.later(0, func() { r.fly(f, flightKey{t, want}) })
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.page, f.err
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
}

// fly reads; it serves all who want the same and does not end with the one who asked first.
func (r *reads) fly(f *flight, key flightKey) {
	ctx, cancel := context.WithTimeout(r.hub.gw.ctx, joinTimeout)
	defer cancel()
	f.page, f.err = r.read(ctx, key.topic, key.want)
	r.mu.Lock()
	delete(r.flights, key)
	r.mu.Unlock()
	close(f.done)
}

// read waits for one of the slots.
func (r *reads) read(ctx context.Context, t *topic, want Range) (Page, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
	defer func() { <-r.slots }()
	var allow func(protocol.Channel) bool
	if t.pattern() {
		allow = t.owns
	}
	return r.hub.gw.history.Read(ctx, t.key, want, allow)
}
