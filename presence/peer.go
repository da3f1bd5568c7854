package presence

import (
	"time"

	"fanfare/protocol"
)

// peer is one generation of a gateway as we see it. Owned by the loop.
type peer struct {
	gw      string
	node    protocol.NodeID
	gen     uint64
	card    card
	state   peerState
	heard   time.Time // last sign of life
	until   time.Time // of expiring: when its entries go; of dead and absent: when it is forgotten
	entries int       // of views; a peer with entries is not forgotten
	ours    bool
	looking bool // its lease is being looked up
}

type peerState uint8

const (
	// peerUnknown: an entry names it, its lease has not been seen yet. Not shown.
	peerUnknown peerState = iota
	// peerAbsent: it has no lease. Not shown, until a lease or heartbeat comes.
	peerAbsent
	// peerAlive and peerSuspect are shown.
	peerAlive
	peerSuspect
	// peerHidden: silent and unreachable, but its lease stands. Not shown until it is heard again.
	peerHidden
	// peerExpiring: its lease ended, but its node lives and is about to write its entries under a new generation,
	// or has just left in order. Shown a moment longer.
	peerExpiring
	// peerDead: over for good; a token is never used again.
	peerDead
)

// forget is how long a dead or absent gateway is remembered.
const forget = 10 * time.Minute

// take reads what the gateway says about itself. Who goes does not stay: a lease may be older than a heartbeat.
func (p *peer) take(c card) {
	c.Going = c.Going || p.card.Going
	c.Gone = c.Gone || p.card.Gone
	p.card = c
}

// shown tells whether its entries are to be seen.
func (p *peer) shown() bool {
	return p.state == peerAlive || p.state == peerSuspect || p.state == peerExpiring
}

// holds tells whether it holds a lease, as far as we know.
func (p *peer) holds() bool {
	return p.state == peerAlive || p.state == peerSuspect || p.state == peerHidden
}

// state as told to others.
func (p *peer) info() (NodeInfo, bool) {
	n := NodeInfo{ID: p.node, Addr: p.card.Addr, Started: time.UnixMilli(p.card.Started)}
	switch p.state {
	case peerAlive, peerExpiring:
		n.State = Alive
	case peerSuspect:
		n.State = Suspect
	case peerHidden:
		n.State = Hidden
	case peerUnknown, peerAbsent, peerDead:
		return n, false
	}
	if p.card.Going && n.State == Alive {
		n.State = Going
	}
	return n, !p.card.Gone
}
