package presence

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/protocol"
)

// maxPeers bounds the gateways remembered, dead ones included.
const maxPeers = 8192

// peer finds a gateway by its token and looks up its lease when it is new. nil: not a token, or too many.
func (l *loop) peer(gw string) *peer {
	p := l.peers[gw]
	if p == nil {
		node, gen, err := parseGateway(gw)
		if err != nil || len(l.peers) >= maxPeers {
			return nil
		}
		p = &peer{gw: gw, node: node, gen: gen, ours: node == l.d.o.Node, heard: time.Now()}
		l.peers[gw] = p
		if !p.ours {
			l.lookUp(p)
		}
	}
	return p
}

// setState changes a gateway's state; its members come and go with it.
func (l *loop) setState(p *peer, s peerState) {
	was := p.state
	shown := p.shown()
	p.state = s
	if shown == p.shown() || p.entries == 0 {
		return
	}
	for _, v := range l.order {
		v.settleAll(p)
		if (was == peerUnknown || was == peerAbsent) && (l.going || len(v.leaving) > 0) {
			for _, e := range v.entries { // its members have only joined now
				if e.peer == p && e.op == opPut {
					l.cameBack(v, e.value)
				}
			}
		}
	}
}

// beat takes a heartbeat.
func (l *loop) beat(m *nats.Msg) {
	now := time.Now()
	if now.Sub(l.lastBeat) > l.d.o.Suspect { // we were deaf: silence of the others meant nothing
		l.hearAll(now)
	}
	l.lastBeat = now
	p := l.peer(strings.TrimPrefix(m.Subject, beatPrefix))
	if p == nil || p.ours {
		return
	}
	c := readCard(m.Data)
	if c.Gone {
		p.card.Gone = true
		l.ended(p, l.d.o.Hold/3)
		return
	}
	p.take(c)
	l.going = l.going || c.Going
	l.alive(p, now)
}

// alive notes a sign of life.
func (l *loop) alive(p *peer, now time.Time) {
	p.heard = now
	switch p.state {
	case peerHidden:
		l.d.metrics.returned.Inc()
		l.d.o.Logger.Info("gateway is back", "node", p.node, "gateway", p.gw)
		l.setState(p, peerAlive)
	case peerUnknown, peerAbsent, peerSuspect:
		l.setState(p, peerAlive)
	case peerAlive, peerExpiring, peerDead: // the lease decides
	}
}

// hearAll gives everybody a new chance to be heard.
func (l *loop) hearAll(now time.Time) {
	for _, p := range l.peers {
		p.heard = now
	}
}

// lease takes a change of a lease.
func (l *loop) lease(m *nats.Msg) {
	r, ok := liveRecord(m, leaseLive)
	if !ok {
		return
	}
	p := l.peer(r.key)
	switch {
	case p == nil:
	case p.ours:
		if r.op == opRemove && r.key == l.d.current() {
			select {
			case l.d.checkLease <- struct{}{}:
			default:
			}
		}
		if r.op == opRemove {
			l.purgeLater(p.gw)
		}
	case r.op == opRemove:
		l.d.o.Logger.Info("lease of a gateway has ended", "node", p.node, "gateway", p.gw, "state", p.state.String())
		l.ended(p, l.d.o.Hold)
		l.purgeLater(p.gw)
	default:
		l.leased(p, r.value, time.Now())
	}
}

// leased takes a lease that stands.
func (l *loop) leased(p *peer, value []byte, now time.Time) {
	p.take(readCard(value))
	if p.card.Gone {
		l.ended(p, l.d.o.Hold/3)
		return
	}
	l.alive(p, now)
}

// ended notes that a gateway has no lease any more. If its node lives it is only between two generations, and
// its entries are shown until they have been written anew; a gateway that left in order has marked its own.
func (l *loop) ended(p *peer, hold time.Duration) {
	now := time.Now()
	switch {
	case p.state == peerDead || p.state == peerExpiring:
	case p.shown() && (p.card.Gone || l.nodeHeard(p.node, now)):
		p.until = now.Add(hold)
		l.setState(p, peerExpiring)
	default:
		l.dead(p, now)
	}
}

// nodeHeard tells whether any generation of a node gave a sign of life lately.
func (l *loop) nodeHeard(n protocol.NodeID, now time.Time) bool {
	for _, p := range l.peers {
		if p.node == n && now.Sub(p.heard) < l.d.o.Suspect {
			return true
		}
	}
	return false
}

// dead ends a gateway for good. Its entries are dropped, except those left with grace.
func (l *loop) dead(p *peer, now time.Time) {
	l.setState(p, peerDead)
	p.until = now.Add(forget)
	if p.entries == 0 {
		return
	}
	for _, v := range l.order {
		for _, e := range v.entries {
			if e.peer == p && e.op == opPut {
				m := e.member
				e.op, e.value, e.member = opRemove, nil, nil
				if m != nil {
					v.settle(m)
				}
				l.drop(v, e)
			}
		}
	}
}

// watchPeers finds the silent and forgets the dead.
func (l *loop) watchPeers(now time.Time, stalled bool) {
	connected := l.d.o.Conn.IsConnected()
	if stalled || connected && l.deaf {
		l.hearAll(now)
	}
	l.deaf = !connected
	hearing := connected && now.Sub(l.lastBeat) < 2*l.d.o.Heartbeat
	for gw, p := range l.peers {
		switch {
		case p.ours:
			if p.entries == 0 && gw != l.d.current() && now.Sub(p.heard) > forget {
				delete(l.peers, gw)
			}
		case p.state == peerAlive && hearing && now.Sub(p.heard) > l.d.o.Suspect:
			l.suspect(p)
		case p.state == peerExpiring && now.After(p.until):
			l.dead(p, now)
		case p.state == peerUnknown && !p.looking && connected && now.Sub(p.heard) > l.d.o.Heartbeat/4:
			p.heard = now
			l.lookUp(p)
		case p.state == peerDead && p.entries == 0 && now.After(p.until):
			delete(l.peers, gw)
		case p.state == peerAbsent && p.entries == 0 && now.Sub(p.heard) > forget:
			delete(l.peers, gw)
		}
	}
	n := 0
	for _, due := range l.purges {
		if now.Before(due.at) {
			l.purges[n] = due
			n++
		} else if l.d.janitor.Load() || l.d.ours(due.gw) {
			l.d.purgeSoon(due.gw)
		}
	}
	l.purges = l.purges[:n]
	if now.Sub(l.loadedAt) > 5*l.d.o.Refresh && connected {
		l.loadLeases()
	}
	l.publish()
}

// purgeDue is a gateway whose lease has ended.
type purgeDue struct {
	gw string
	at time.Time
}

func (l *loop) purgeLater(gw string) {
	if len(l.purges) < maxPurges { // what is left over is found by the sweep
		l.purges = append(l.purges, purgeDue{gw, time.Now().Add(l.d.o.Hold + l.d.o.Heartbeat)})
	}
}

// suspect asks a silent gateway whether it is there.
func (l *loop) suspect(p *peer) {
	l.d.metrics.suspects.Inc()
	l.setState(p, peerSuspect)
	gw := p.gw
	l.aside(func(ctx context.Context) {
		answered := l.d.ping(ctx, gw)
		l.d.posts.add(func(l *loop) {
			p := l.peers[gw]
			switch {
			case p == nil || p.state != peerSuspect:
			case answered || !l.d.o.Conn.IsConnected():
				l.alive(p, time.Now())
			default:
				l.d.metrics.hidden.Inc()
				l.d.o.Logger.Warn("gateway is silent, its members are hidden", "node", p.node, "gateway", gw)
				l.setState(p, peerHidden)
			}
		})
	})
}

// ping asks three times.
func (d *Directory) ping(ctx context.Context, gw string) bool {
	for range 3 {
		limit, cancel := context.WithTimeout(ctx, d.o.PingTimeout)
		_, err := d.o.Conn.RequestWithContext(limit, pingSubject(gw), nil)
		if err == nil {
			cancel()
			return true
		}
		<-limit.Done() // "no responders" comes at once; a route that flaps deserves the full time
		cancel()
		if ctx.Err() != nil {
			return true
		}
	}
	return false
}

// lookUp asks the leader of the leases about a gateway.
func (l *loop) lookUp(p *peer) {
	if p.looking {
		return
	}
	p.looking = true
	gw := p.gw
	l.aside(func(ctx context.Context) {
		r, err := l.d.leaderGet(ctx, leaseStream, leasePrefix+gw)
		l.d.posts.add(func(l *loop) {
			p := l.peers[gw]
			if p == nil {
				return
			}
			p.looking = false
			switch {
			case err != nil && !errors.Is(err, errNotFound):
				l.d.o.Logger.Debug("lease not read", "gateway", gw, "err", err)
			case err == nil && r.op == opPut:
				if p.state == peerUnknown || p.state == peerAbsent {
					l.leased(p, r.value, time.Now())
				}
			case p.state == peerUnknown:
				l.setState(p, peerAbsent)
			case p.holds():
				l.ended(p, l.d.o.Hold)
				l.purgeLater(gw)
			}
		})
	})
}

// loadLeases reads all leases, from a state not older than our own last refresh.
func (l *loop) loadLeases() {
	l.loadedAt = time.Now()
	if l.loading {
		return
	}
	l.loading = true
	l.aside(func(ctx context.Context) {
		floor := l.d.leaseSeq.Load()
		var a answer
		var err error
		for try := time.Now(); ; {
			a, err = l.d.direct(ctx, leaseStream, leasePrefix, directRequest{MultiLast: []string{leasePrefix + "*"}, MaxBytes: multiBytes})
			if err == nil && a.upTo >= floor || time.Since(try) > readTimeout || wait(ctx, l.d.o.Heartbeat/50) != nil {
				break
			}
		}
		l.d.posts.add(func(l *loop) {
			l.loading = false
			if err != nil || a.upTo < floor {
				l.d.o.Logger.Debug("leases not read", "err", err)
				l.loadedAt = time.Now().Add(-5*l.d.o.Refresh + l.d.o.Heartbeat)
				return
			}
			l.loaded(a.records)
		})
	})
}

// loaded compares the leases with what is known.
func (l *loop) loaded(records []record) {
	now := time.Now()
	stands := make(map[string]bool, len(records))
	for _, r := range records {
		stands[r.key] = r.op == opPut
		p := l.peer(r.key)
		if p == nil || p.ours || r.op != opPut {
			continue
		}
		if p.state == peerUnknown || p.state == peerAbsent {
			l.leased(p, r.value, now)
		}
	}
	for gw, p := range l.peers {
		if !p.ours && p.holds() && !stands[gw] {
			l.lookUp(p) // the leader has the last word: the lease may be newer than the reading
		}
	}
	select {
	case <-l.d.known:
	default:
		close(l.d.known)
	}
	l.publish()
}

// publish tells Nodes and the metrics what the loop knows, and finds out whether we are the janitor: the living
// gateway with the lowest id.
func (l *loop) publish() {
	nodes := make(map[protocol.NodeID]*peer, len(l.peers))
	l.going = false
	janitor := l.d.current() != ""
	for _, p := range l.peers {
		if p.ours {
			continue
		}
		l.going = l.going || p.card.Going && p.shown()
		if _, listed := p.info(); listed {
			if other := nodes[p.node]; other == nil || other.gen < p.gen {
				nodes[p.node] = p
			}
		}
	}
	list := make([]NodeInfo, 0, len(nodes))
	count := map[State]float64{Alive: 0, Suspect: 0, Hidden: 0, Going: 0}
	for _, p := range nodes {
		n, _ := p.info()
		list = append(list, n)
		count[n.State]++
		if p.state == peerAlive && p.node < l.d.o.Node {
			janitor = false
		}
	}
	sortNodes(list)
	l.d.nodes.Store(&list)
	l.d.janitor.Store(janitor)
	count[Alive]++ // ourselves
	for s, n := range count {
		l.d.metrics.gateways.WithLabelValues(s.String()).Set(n)
	}
}

// String is for logs.
func (s peerState) String() string {
	return [...]string{"unknown", "absent", "alive", "suspect", "hidden", "expiring", "dead"}[s]
}
