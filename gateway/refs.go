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
	known map[string]*refEntry // by the id derived from channel, ref and key
	order []string             // ids, oldest first
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
func (s *Session) repeated(channel protocol.Channel, ref, id string) bool {
	s.mu.Lock()
	if s.refs == nil {
		s.refs = &refs{known: make(map[string]*refEntry)}
	}
	r := s.refs
	s.mu.Unlock()
	now := time.Now()
	r.mu.Lock()
	r.forgetLocked(now)
	e := r.known[id]
	switch {
	case e == nil && len(r.order) >= 4*maxRefs: // as many are unanswered
		r.mu.Unlock()
		s.fail(channel, ref, protocol.ErrOverloaded)
		return true
	case e == nil:
		r.known[id] = &refEntry{at: now}
		r.order = append(r.order, id)
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
func (s *Session) refDone(id string, receipt protocol.Receipt, err error) int {
	s.mu.Lock()
	r := s.refs
	s.mu.Unlock()
	if r == nil {
		return 1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[id]
	if e == nil {
		return 1
	}
	times := 1 + e.waiting
	e.waiting = 0
	if err != nil {
		delete(r.known, id)
		return times
	}
	e.done, e.receipt = true, receipt
	return times
}

func (r *refs) forgetLocked(now time.Time) {
	drop := 0
	for _, id := range r.order {
		e := r.known[id]
		if e != nil && now.Sub(e.at) < protocol.DedupeWindow && len(r.order)-drop <= maxRefs {
			break
		}
		if e != nil && !e.done && now.Sub(e.at) < 2*protocol.PublishDeadline {
			break // still to be answered
		}
		delete(r.known, id)
		drop++
	}
	r.order = r.order[drop:]
}
