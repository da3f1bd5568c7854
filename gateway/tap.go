package gateway

import (
	"time"

	"fanfare/protocol"
)

// tap follows the publications of one topic through this node, for somebody who looks. A topic without one, which is
// nearly every topic, pays two comparisons with nil for each publication and flush. It is guarded by topic.mu.
type tap struct {
	until  time.Time
	first  uint64 // number of list[0]
	list   []Trace
	batch  []uint64 // of each trace: the batch it is in; 0 = written
	stores []storedAt
}

// storedAt is when this node learned that an offset is stored.
type storedAt struct {
	offset uint64
	at     time.Time
}

const (
	tapTraces = 256
	tapStores = 64
	// tapFor is how long a tap lasts after somebody has asked.
	tapFor = 15 * time.Second
	// tapAck is how long a trace waits for the acknowledgement of its storing, which may come later than the publication.
	tapAck = time.Second
	// maxTaps of one node.
	maxTaps = 64
)

// Trace is one publication's way through this node. Times that are not known are nil. Accepted is by the clock of the
// gateway named Origin, the others by that of the one that answers.
type Trace struct {
	Number   uint64           `json:"number"` // grows by one with each
	ID       string           `json:"id"`
	Offset   uint64           `json:"offset,string,omitempty"`
	Channel  protocol.Channel `json:"channel"`
	Origin   protocol.NodeID  `json:"origin"`
	Accepted time.Time        `json:"accepted"`
	// Stored is when the acknowledgement came, on the gateway that accepted it only.
	Stored *time.Time `json:"stored,omitempty"`
	// Arrived is when it was in this gateway's batch, Flushed when that batch's turn came, and Written when it was
	// written to the last of Members.
	Arrived time.Time  `json:"arrived"`
	Flushed *time.Time `json:"flushed,omitempty"`
	Written *time.Time `json:"written,omitempty"`
	// Batch is how many publications left together.
	Batch int `json:"batch,omitempty"`
}

// Traces gives what a topic's tap has seen behind a number, opening one that lasts for a while. It is about topics
// with members here; for others there is nothing.
func (g *Gateway) Traces(key protocol.Topic, after uint64) []Trace {
	t := g.hub.find(key)
	if t == nil {
		return nil
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tap == nil {
		if len(t.members) == 0 || g.taps.Add(1) > maxTaps {
			if len(t.members) > 0 {
				g.taps.Add(-1)
			}
			return nil
		}
		t.tap = &tap{first: 1}
	}
	t.tap.until = now.Add(tapFor)
	return t.tap.behind(now, g.opts.Node, after, t.number, t.writing)
}

// closeTapLocked takes away a tap that nobody looks at any more.
func (t *topic) closeTapLocked(now time.Time) {
	if t.tap != nil && (now.After(t.tap.until) || len(t.members) == 0) {
		t.tap = nil
		t.hub.gw.taps.Add(-1)
	}
}

func (p *tap) arrived(now time.Time, pub *protocol.Publication, batch uint64) {
	if len(p.list) == tapTraces {
		drop := tapTraces / 4
		p.list, p.batch = append(p.list[:0], p.list[drop:]...), append(p.batch[:0], p.batch[drop:]...)
		p.first += uint64(drop)
	}
	p.list = append(p.list, Trace{
		Number: p.first + uint64(len(p.list)), ID: pub.ID, Offset: pub.Offset, Channel: pub.Channel, Origin: pub.Origin,
		Accepted: pub.Accepted, Arrived: now,
	})
	p.batch = append(p.batch, batch+1)
}

func (p *tap) stored(now time.Time, offset uint64) {
	if len(p.stores) == tapStores {
		p.stores = append(p.stores[:0], p.stores[tapStores/4:]...)
	}
	p.stores = append(p.stores, storedAt{offset, now})
}

func (p *tap) written(batch uint64, flushed, written time.Time) {
	together := 0
	for i := range p.list {
		if p.batch[i] == batch+1 {
			together++
		}
	}
	for i := range p.list {
		if p.batch[i] == batch+1 {
			p.batch[i] = 0
			p.list[i].Flushed, p.list[i].Written, p.list[i].Batch = &flushed, &written, together
		}
	}
}

// behind gives the finished traces behind a number, in order: up to the first one that is still on its way. next is
// the batch being gathered, and writing says that the one before is not out yet. What is given once is not asked for again,
// so what was accepted on this node, which is own, is not finished before it is acknowledged as stored.
func (p *tap) behind(now time.Time, own protocol.NodeID, after, next uint64, writing bool) []Trace {
	var out []Trace
	for i := range p.list {
		if b := p.batch[i]; b > next || b == next && b > 0 && writing {
			break
		}
		if p.list[i].Number <= after {
			continue
		}
		t := p.list[i]
		for _, s := range p.stores {
			if s.offset == t.Offset && t.Offset > 0 {
				t.Stored = &s.at
			}
		}
		if t.Stored == nil && t.Offset > 0 && t.Origin == own && now.Sub(t.Arrived) < tapAck {
			break
		}
		out = append(out, t)
	}
	return out
}
