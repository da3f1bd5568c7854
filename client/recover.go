package client

import (
	"encoding/json"
	"time"

	"fanfare/protocol"
)

// How a channel is joined, joined again and resumed. Everything here runs under Client.mu.

// sendJoinLocked sends a join that resumes behind the last event queued, where that is known.
func (ch *Channel) sendJoinLocked(l *link) {
	ch.asked = nil
	if ch.stored && !ch.pattern() {
		from := ch.position
		ch.asked = &from
	}
	if ch.stalled.Load() && ch.q.roomy() {
		ch.stalled.Store(false)
	}
	ch.live = false
	ch.expect++
	ch.due = time.Now().Add(ch.c.o.JoinTimeout)
	l.push(joinFrame(ch.name, ch.o, ch.asked))
}

// rejoinDue repeats joins that are due: those never answered (a join is idempotent, and one may fall to a rate
// limit without a word of its own) and those refused for now.
func (c *Client) rejoinDue(l *link, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l {
		return
	}
	for _, ch := range c.order {
		if !ch.due.IsZero() && !now.Before(ch.due) {
			ch.expect = 0
			ch.sendJoinLocked(l)
		}
	}
}

// resyncLocked fills a hole: it leaves and resumes, or, where there is nothing to resume from, tells of it.
func (ch *Channel) resyncLocked(l *link, reason GapReason) {
	ch.stalled.Store(false)
	if ch.stored && !ch.pattern() {
		ch.cause = reason
		l.push(leaveFrame(ch.name))
		ch.sendJoinLocked(l)
		return
	}
	ch.gap = reason
	if ch.o.Presence {
		ch.pushLocked(ch.listLocked())
	}
	ch.flushGapLocked()
}

// joinedLocked handles the answer to a join.
func (ch *Channel) joinedLocked(l *link, f *frame) {
	if ch.expect == 0 {
		return // a repeated answer; what follows it is recognised by its ids
	}
	if ch.expect--; ch.expect > 0 {
		return // the answer to a join before the last
	}
	var payload struct {
		Resumed *bool `json:"resumed"`
	}
	_ = json.Unmarshal(f.Payload, &payload) // null, or from a server without resume
	resumed := ch.asked != nil && payload.Resumed != nil && *payload.Resumed
	first, cause := ch.waiting != nil, ch.cause
	ch.due, ch.cause = time.Time{}, ""
	if ch.stalled.Load() && ch.q.roomy() {
		ch.stalled.Store(false)
	}
	offset, stored := f.Options.offset()
	if resumed {
		if ch.position.Epoch == "" {
			ch.position.Epoch = f.Options.Epoch
		}
	} else {
		ch.position, ch.stored = Position{Epoch: f.Options.Epoch, Offset: offset}, stored && !ch.pattern()
		ch.seen = recent{}
		switch {
		case ch.asked != nil:
			ch.gap = GapNotResumed
		case cause != "":
			ch.gap = cause
		case !first:
			ch.gap = GapReconnected
		}
	}
	ch.live = true
	if f.Client != nil {
		ch.self = f.Client.member()
	}
	if first || cause == "" {
		ch.pushLocked(item{event: &Joined{Self: ch.self, First: first, Resumed: resumed}, at: ch.atLocked()})
	}
	ch.flushGapLocked()
	if first {
		ch.waiting <- nil
		ch.waiting = nil
	}
	if ch.data != nil {
		l.pushLatest(ch.name, presenceFrame(ch.name, ch.data))
	}
	ch.c.signalLocked()
}

// refusedLocked handles an error in place of the answer to a join.
func (ch *Channel) refusedLocked(e *protocol.Error) {
	if ch.waiting == nil && transient(e.Code) {
		ch.expect = 0
		ch.due = time.Now().Add(max(time.Duration(e.RetryAfter)*time.Second, time.Second))
		return
	}
	// The server may mean something else than the join by it: leave, so that both sides agree.
	ch.leaveLocked(e)
}

// transient tells whether the same join may succeed later.
func transient(code protocol.Code) bool {
	switch code { //nolint:exhaustive // the others stay
	case protocol.CodeRateLimited, protocol.CodeUnavailable, protocol.CodeOverloaded, protocol.CodeUnknownOutcome,
		protocol.CodeTriggerFailed, protocol.CodeInternal:
		return true
	}
	return false
}

// pushLocked queues an event, behind the gap that may be owed. When the queue is full the channel stalls.
func (ch *Channel) pushLocked(it item) bool {
	if !ch.flushGapLocked() {
		return false
	}
	if !ch.q.push(it) {
		ch.stalled.Store(true)
		return false
	}
	return true
}

func (ch *Channel) flushGapLocked() bool {
	if ch.stalled.Load() {
		return false
	}
	if ch.gap == "" {
		return true
	}
	if !ch.q.push(item{event: &Gap{Reason: ch.gap}, at: ch.atLocked()}) {
		ch.stalled.Store(true)
		return false
	}
	ch.gap = ""
	return true
}

// atLocked is the position for the application; nil where there is none.
func (ch *Channel) atLocked() *Position {
	if !ch.stored {
		return nil
	}
	at := ch.position
	return &at
}

// recent remembers the ids of the latest stored messages: as many as a resume can repeat.
type recent struct {
	ids  map[string]struct{}
	ring []string
	next int
}

const recentMax = 1024

// add tells whether the id is new.
func (r *recent) add(id string) bool {
	if _, known := r.ids[id]; known {
		return false
	}
	if r.ids == nil {
		r.ids = map[string]struct{}{}
	}
	r.ids[id] = struct{}{}
	if len(r.ring) < recentMax {
		r.ring = append(r.ring, id)
		return true
	}
	delete(r.ids, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % recentMax
	return true
}

func (r *recent) has(id string) bool {
	_, known := r.ids[id]
	return known
}
