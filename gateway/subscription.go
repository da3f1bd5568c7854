package gateway

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"fanfare/protocol"
)

// subscription is one session on one topic.
type subscription struct {
	session *Session
	topic   *topic
	// index in topic.members; guarded by topic.mu.
	index int
	// The subscription begins at a byte of the batch of a number. Set with topic.mu held and while no flush is
	// writing to the member; a flush reads them without the lock.
	beginBatch uint64
	beginByte  int
	// joined is when the member joined, in Unix milliseconds, and start the channel's offset then: what was stored
	// up to there is not live for it. Guarded by topic.mu.
	joined int64
	start  uint64
	// data is the member's presence data; guarded by topic.mu.
	data json.RawMessage
	// asked: the session asked for presence, whether or not the rule has it; guarded by topic.mu.
	asked bool
	// presence: the session got the list and gets the updates; changed with topic.mu held.
	presence atomic.Bool
	// expelled: the session may not be a member any more; guarded by session.mu.
	expelled bool
	// hold keeps live frames back while the session is being caught up; nil once it is live.
	hold atomic.Pointer[hold]
}

// hold is where the live frames of a joining session wait until its join answer, presence, history and missed
// frames are out. It is bounded by the backlog's limit; beyond it the session is a slow consumer.
type hold struct {
	mu       sync.Mutex
	frames   []byte
	released bool
	overflow bool
	// first is, for a pattern's subscriber, the first offset of each channel that was delivered while it was held;
	// guarded by topic.mu.
	first map[protocol.Channel]uint64
}

// beginAt lets the subscription begin at a byte of a batch.
func (m *subscription) beginAt(batch uint64, from int) { m.beginBatch, m.beginByte = batch, from }

// from is where in the batch of that number the subscription begins.
func (m *subscription) from(batch uint64) int {
	if m.beginBatch == batch {
		return m.beginByte
	}
	return 0
}

// send delivers whole frames to the session, or keeps them while it is held.
func (m *subscription) send(frames []byte) {
	if h := m.hold.Load(); h != nil {
		h.mu.Lock()
		if !h.released {
			if len(h.frames)+len(frames) > m.session.gw.connLimits.backlogBytes {
				h.overflow = true
			} else {
				h.frames = append(h.frames, frames...)
			}
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
	}
	_ = m.session.conn.write(frames) // a refusal ends the session through its reader
}

// release lets the session have what was held and everything after it, in order.
func (m *subscription) release() {
	h := m.hold.Load()
	if h == nil {
		return
	}
	h.mu.Lock()
	if len(h.frames) > 0 && !h.overflow {
		_ = m.session.conn.write(h.frames)
	}
	h.frames, h.released = nil, true
	overflow := h.overflow
	m.hold.Store(nil)
	h.mu.Unlock()
	if overflow {
		m.session.close(protocol.CloseTryAgain, "slow consumer", reasonHoldOverflow)
	}
}

// sees tells whether the member belongs to a run's audience.
func (m *subscription) sees(r *run) bool {
	if r.watchers {
		return m.presence.Load() && m.session.id != r.audience.Session
	}
	switch r.audience.Kind {
	case protocol.Everyone:
		return true
	case protocol.Authenticated:
		return m.session.Identity().Authenticated
	case protocol.User:
		return m.session.Identity().Same(r.audience.DboID, r.audience.RowID)
	case protocol.Socket:
		return m.session.id == r.audience.Session
	}
	return false
}
