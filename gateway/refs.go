package gateway

import (
	"sync"
	"time"

	"fanfare/protocol"
)

// refs remembers a session's recent refs, so that the same one again within the window is published once and
// answered with the first id and offset. Beyond its bound the oldest are forgotten; what is stored is still
// deduplicated by the broker, because the id is derived from the ref.
type refs struct {
	mu    sync.Mutex
	known map[refKey]*refEntry
	order []refKey // oldest first
}

type refKey struct {
	channel protocol.Channel
	ref     string
}

type refEntry struct {
	at      time.Time
	done    bool
	waiting int // further frames with this ref that wait for the answer
	receipt protocol.Receipt
}

// maxRefs is how many refs of a session are remembered.
const maxRefs = 1024

// repeated tells whether the ref was seen before, and sees to its answer; otherwise it is remembered.
func (s *Session) repeated(channel protocol.Channel, ref, _ string) bool {
	s.mu.Lock()
	if s.refs == nil {
		s.refs = &refs{known: make(map[refKey]*refEntry)}
	}
	r := s.refs
	s.mu.Unlock()
	key, now := refKey{channel, ref}, time.Now()
	r.mu.Lock()
	r.forgetLocked(now)
	e := r.known[key]
	switch {
	case e == nil && len(r.order) >= 4*maxRefs: // as many are unanswered
		r.mu.Unlock()
		s.fail(channel, ref, protocol.ErrOverloaded)
		return true
	case e == nil:
		r.known[key] = &refEntry{at: now}
		r.order = append(r.order, key)
		r.mu.Unlock()
		return false
	case !e.done:
		e.waiting++
		r.mu.Unlock()
		return true
	}
	receipt := e.receipt
	r.mu.Unlock()
	s.sendFrame(func(dst []byte) []byte {
		return protocol.AppendAck(dst, channel, ref, receipt.ID, receipt.Position.Offset)
	})
	return true
}

// refDone notes the answer of a ref and tells how many frames wait for it. A failed one is forgotten: it may
// be tried again.
func (s *Session) refDone(channel protocol.Channel, ref string, receipt protocol.Receipt, err error) int {
	s.mu.Lock()
	r := s.refs
	s.mu.Unlock()
	if r == nil {
		return 1
	}
	key := refKey{channel, ref}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[key]
	if e == nil {
		return 1
	}
	times := 1 + e.waiting
	e.waiting = 0
	if err != nil {
		delete(r.known, key)
		return times
	}
	e.done, e.receipt = true, receipt
	return times
}

func (r *refs) forgetLocked(now time.Time) {
	drop := 0
	for _, key := range r.order {
		e := r.known[key]
		if e != nil && now.Sub(e.at) < protocol.DedupeWindow && len(r.order)-drop <= maxRefs {
			break
		}
		if e != nil && !e.done && now.Sub(e.at) < 2*protocol.PublishDeadline {
			break // still to be answered
		}
		delete(r.known, key)
		drop++
	}
	r.order = r.order[drop:]
}
