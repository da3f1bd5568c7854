package broker

import (
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Every republished message carries the sequence that was the newest of its channel before it: the back-link.
// A link above what was delivered last proves a hole. A link below it proves nothing: purge and expiry make
// links go back.

// maxHeld is how many publications wait in memory for the repair of the hole before them. Those beyond are read
// from the stream instead.
const maxHeld = 512

// chain is the state of one stored channel in one feed; the feed's mu guards it.
type chain struct {
	channel  protocol.Channel
	shard    int
	epoch    string
	last     uint64 // sequence delivered last
	verified uint64 // nothing up to it is missing; at least last when it was set

	// Publications are held while holding (the position is not known yet) or repairing (something before them is
	// being read; only the repair delivers meanwhile).
	holding   bool
	repairing bool
	job       bool   // a repair is queued or runs
	target    uint64 // it reads at least up to this
	held      []heldPublication
}

type heldPublication struct {
	p             *protocol.Publication
	seq, previous uint64
}

// arrive takes a stored publication from the live path.
func (f *Feed) arrive(p *protocol.Publication, seq, previous uint64) {
	shard := f.shard
	if f.pattern {
		shard = subject.Shard(f.topic.Server, p.Channel)
	}
	p.Offset = subject.Offset(shard, seq)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Load() {
		return
	}
	if !f.stored {
		// The rule keeps no history here (any more); another gateway has not heard of it yet.
		f.chain.last = max(f.chain.last, seq)
		if f.ready.Load() {
			f.deliver(p)
		}
		return
	}
	c := &f.chain
	if f.pattern {
		if c = f.below.chain(f, p.Channel, shard); c == nil {
			return
		}
	}
	switch {
	case !c.flows():
		c.hold(p, seq, previous)
	case seq <= c.last:
		f.b.metrics.received.WithLabelValues("duplicate").Inc()
	case previous <= c.last:
		c.last = seq
		f.deliver(p)
	default:
		f.b.metrics.gaps.WithLabelValues("link").Inc()
		c.hold(p, seq, previous)
		f.repair(c, previous)
	}
}

// flows tells that publications are not held.
func (c *chain) flows() bool { return !c.holding && !c.repairing }

// deliver calls the sink; mu is held. What nobody can read has no kind and is not shown.
func (f *Feed) deliver(p *protocol.Publication) {
	if p.Kind != 0 {
		f.sink.Deliver(p)
	}
}

// hold keeps a publication for later, or only notes that it is in the stream.
func (c *chain) hold(p *protocol.Publication, seq, previous uint64) {
	if len(c.held) >= maxHeld {
		c.target = max(c.target, seq)
		return
	}
	c.held = append(c.held, heldPublication{p, seq, previous})
}

// settle delivers what is held as far as it connects, and gives the sequence up to which must be read before the
// rest can follow; 0 when nothing is left to do. mu is held.
func (f *Feed) settle(c *chain) (upTo uint64) {
	n := 0
	for _, h := range c.held {
		if h.seq > c.last {
			if h.previous > c.last {
				break
			}
			c.last = h.seq
			f.deliver(h.p)
		}
		n++
	}
	c.held = c.held[n:]
	switch {
	case len(c.held) > 0:
		return c.held[0].previous
	case c.target > c.last:
		return c.target
	}
	c.held, c.target = nil, 0
	return 0
}

// resettle settles a chain whose position has just become known; mu is held.
func (f *Feed) resettle(c *chain) {
	c.holding = false
	c.repairing = f.settle(c) != 0
	if c.repairing {
		f.startJob(c)
	}
}

// repair begins to read the hole up to a sequence; mu is held.
func (f *Feed) repair(c *chain, upTo uint64) {
	c.target = max(c.target, upTo)
	c.repairing = true
	f.startJob(c)
}

func (f *Feed) startJob(c *chain) {
	if !c.job {
		c.job = true
		f.b.repairs.add(f, c)
	}
}
