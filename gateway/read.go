package gateway

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

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
	latest := ask.Before == 0 && !ask.HasAfter && ask.Since.IsZero()
	if latest && !t.pattern() && t.catchUp(ctx, 0) {
		if err := t.loadRing(ctx); err != nil {
			return nil, false, err
		}
		t.mu.Lock()
		pubs, ok := t.latestLocked(identity, s.id, rule, limit, upTo)
		more := ok && t.hasOlderLocked(pubs)
		t.mu.Unlock()
		if ok {
			return pubs, more, nil
		}
	}
	r := Range{Limit: limit, Before: ask.Before, After: ask.After, HasAfter: ask.HasAfter, Since: ask.Since, UpTo: upTo, Window: rule.History, Authenticated: identity.Authenticated}
	page, err := t.hub.reads.do(ctx, t.hub.gw.history, t.key, r)
	if err != nil {
		return nil, false, err
	}
	pubs := make([]*protocol.Publication, 0, len(page.Publications))
	for _, p := range page.Publications {
		if mayRead(identity, s.id, p) && (!t.pattern() || t.owns(p.Channel)) {
			pubs = append(pubs, p)
		}
	}
	return pubs, page.More, nil
}

// owns tells whether a channel below the pattern belongs to it: its own rule is the pattern's.
func (t *topic) owns(channel protocol.Channel) bool {
	server := t.hub.gw.settings.Current().ByID(t.key.Server)
	return server != nil && sameRule(server.Rule(channel), t.rule.Load())
}

// latestLocked answers from the ring when it reaches far enough.
func (t *topic) latestLocked(identity *protocol.Identity, id protocol.SessionID, rule *policy.Rule, limit int, upTo uint64) ([]*protocol.Publication, bool) {
	pubs := t.ring.pubs
	for upTo > 0 && len(pubs) > 0 && pubs[len(pubs)-1].Offset > upTo {
		pubs = pubs[:len(pubs)-1]
	}
	if kept := len(pubs) - rule.History; kept > 0 {
		pubs = pubs[kept:]
	}
	ttl := time.Duration(rule.HistoryTTL) * time.Second
	out := make([]*protocol.Publication, 0, min(limit, len(pubs)))
	i := len(pubs) - 1
	for ; i >= 0 && len(out) < limit; i-- {
		if ttl > 0 && time.Since(pubs[i].Accepted) > ttl {
			continue
		}
		if mayRead(identity, id, pubs[i]) {
			out = append(out, pubs[i])
		}
	}
	if len(out) < limit && !t.ring.full && len(pubs) < rule.History {
		return nil, false
	}
	for a, b := 0, len(out)-1; a < b; a, b = a+1, b-1 {
		out[a], out[b] = out[b], out[a]
	}
	return out, true
}

// hasOlderLocked tells whether there is anything before the first of pubs.
func (t *topic) hasOlderLocked(pubs []*protocol.Publication) bool {
	if !t.ring.full {
		return len(pubs) > 0
	}
	return len(pubs) > 0 && len(t.ring.pubs) > 0 && t.ring.pubs[0].Offset < pubs[0].Offset
}

// loadRing reads what the store had before this node listened, once for all who ask for it.
func (t *topic) loadRing(ctx context.Context) error {
	t.mu.Lock()
	floor, want := t.ring.floor, t.ring.max-len(t.ring.pubs)
	done := t.ring.loaded || want <= 0
	t.mu.Unlock()
	if done {
		return nil
	}
	page, err := t.hub.reads.do(ctx, t.hub.gw.history, t.key, Range{Limit: t.ring.max, UpTo: floor, Authenticated: true})
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
	group singleflight.Group
	slots chan struct{}
}

// maxReads is how many readings of history a gateway has under way at once.
const maxReads = 64

// do shares a reading with those who want the same; one without an upper end only has company that asked before
// it began, which is nobody: what it leaves out may have been delivered to the others already.
func (r *reads) do(ctx context.Context, history History, key protocol.Topic, want Range) (Page, error) {
	if want.UpTo == 0 {
		return r.read(ctx, history, key, want)
	}
	name := fmt.Sprintf("%d %v %s", key.Server, want, key.Channel)
	ch := r.group.DoChan(name, func() (any, error) {
		// The reading serves others too: it does not end with the one who asked first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinTimeout)
		defer cancel()
		return r.read(ctx, history, key, want)
	})
	select {
	case res := <-ch:
		if res.Err != nil {
			return Page{}, res.Err
		}
		return res.Val.(Page), nil
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
}

// read waits for one of the slots.
func (r *reads) read(ctx context.Context, history History, key protocol.Topic, want Range) (Page, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
	defer func() { <-r.slots }()
	return history.Read(ctx, key, want)
}
