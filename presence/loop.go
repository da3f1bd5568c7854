package presence

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// loop owns what this gateway knows of the others: the gateways and the views. One goroutine runs it; nothing
// in it is locked, and nothing in it waits. What has to wait (reads, pings) runs beside it and posts its result.
type loop struct {
	d       *Directory
	aside   func(func(context.Context)) // runs what has to wait in a goroutine of its own, with Run's context
	subs    []*nats.Subscription
	beats   chan *nats.Msg
	leases  chan *nats.Msg
	leaders chan *nats.Msg

	peers    map[string]*peer
	views    map[*nats.Subscription]*view
	order    []*view // all views, for what is done to them in turn
	turn     int
	touched  []*view // views with changes to tell
	remote   int     // entries kept
	leavers  leavers
	arrivals []arrival
	going    bool // some gateway drains
	graves   []grave
	redos    []*view // views that wait for a redo
	redoing  int
	full     bool // msgs was nearly full: some may have been dropped
	purges   []purgeDue
	loading  bool // the leases are being read
	loadedAt time.Time
	lastBeat time.Time
	lastTick time.Time
	deaf     bool
}

func newLoop(d *Directory) (*loop, error) {
	l := &loop{
		d:       d,
		beats:   make(chan *nats.Msg, 4096),
		leases:  make(chan *nats.Msg, 4096),
		leaders: make(chan *nats.Msg, 256),
		peers:   make(map[string]*peer),
		views:   make(map[*nats.Subscription]*view),
	}
	for subject, c := range map[string]chan *nats.Msg{
		beatPrefix + "*": l.beats,
		leaseLive + "*":  l.leases,
		"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*": l.leaders,
	} {
		s, err := d.o.Conn.ChanSubscribe(subject, c)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("presence: subscribe %s: %w", subject, err)
		}
		l.subs = append(l.subs, s)
	}
	return l, nil
}

func (l *loop) close() {
	for _, s := range l.subs {
		_ = s.Unsubscribe()
	}
	for s := range l.views {
		_ = s.Unsubscribe()
	}
}

// run is the loop.
func (l *loop) run(ctx context.Context) error {
	l.aside = func(f func(context.Context)) { l.d.work.Go(func() { f(ctx) }) }
	select {
	case <-l.d.held: // our own lease is the barrier for reading the others'
	case <-ctx.Done():
		return nil
	}
	now := time.Now()
	l.lastBeat, l.lastTick = now, now
	l.loadLeases()
	tick := time.NewTicker(max(l.d.o.Heartbeat/8, 5*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.d.posts.signal:
			for _, f := range l.d.posts.take() {
				f(l)
			}
		case m := <-l.beats:
			l.beat(m)
		case m := <-l.leases:
			l.lease(m)
		case m := <-l.leaders:
			l.leader(m)
		case m := <-l.d.msgs:
			l.takeMsgs(m)
		case now := <-tick.C:
			l.tick(now)
		}
		l.flush()
	}
}

// takeMsgs applies a change and what has come behind it, so that storms are told in few calls.
func (l *loop) takeMsgs(m *nats.Msg) {
	n := len(l.d.msgs)
	if n >= msgsWaiting*9/10 {
		l.full = true
	}
	for i := 0; ; i++ {
		if v := l.views[m.Sub]; v != nil && !v.stopped.Load() {
			if r, ok := liveRecord(m, livePrefix); ok {
				l.apply(v, r, false)
			}
		}
		if i == min(n, 1024) {
			return
		}
		m = <-l.d.msgs
	}
}

// apply takes one record into a view; older ones than what is known change nothing.
func (l *loop) apply(v *view, r record, snapshot bool) {
	e := v.entries[r.key]
	if e != nil && r.seq <= e.seq {
		return
	}
	var id memberID
	if e == nil || e.member == nil {
		k, ok := v.parse(r.key)
		if !ok {
			return
		}
		id = memberID{k.channel, k.session}
		if e == nil {
			p := l.peer(k.gw)
			if p == nil || p.state == peerDead && r.op == opPut {
				return
			}
			e = &entry{key: r.key, peer: p, op: opRemove, shard: uint8(shardOf(topicOf(v, id), l.d.o.Shards))}
			l.keep(v, e)
		}
	}
	back := e.op == opRemove
	e.seq = r.seq
	v.maxSeq[e.shard] = max(v.maxSeq[e.shard], r.seq)
	// A leave with grace keeps what is there and brings nothing back: the writer repeats it when the answer was lost,
	// and the entry may have gone already.
	if r.op == opRemove || r.op == opLeaving && back && v.ready {
		l.remove(v, e)
		return
	}
	e.op = r.op
	if e.peer.ours {
		if back && r.op == opPut {
			l.cameBack(v, r.value)
		}
		return
	}
	e.value = bytes.Clone(r.value)
	if e.member == nil {
		m := v.members[id]
		if m == nil {
			m = &member{id: id}
			v.members[id] = m
		}
		e.member = m
		m.entries = append(m.entries, e)
	}
	v.settle(e.member)
	switch {
	case r.op == opLeaving:
		l.leaveLater(v, e, r, snapshot)
	case back && e.peer.shown():
		l.cameBack(v, e.value)
	}
}

// keep adds an entry to a view.
func (l *loop) keep(v *view, e *entry) {
	v.entries[e.key] = e
	e.peer.entries++
	l.remote++
}

// drop takes an entry out of a view.
func (l *loop) drop(v *view, e *entry) {
	if v.entries[e.key] == e {
		delete(v.entries, e.key)
		e.peer.entries--
		l.remote--
	}
}

// remove makes a tombstone of an entry, so that an older record cannot bring it back.
func (l *loop) remove(v *view, e *entry) {
	m := e.member
	e.op, e.value, e.member = opRemove, nil, nil
	if m != nil {
		v.settle(m)
	}
	l.graves = append(l.graves, grave{v: v, e: e, seq: e.seq, at: time.Now().Add(l.d.o.Tombstone)})
	if len(l.graves) > maxGraves {
		l.openGrave()
	}
}

// grave is a tombstone in a view.
type grave struct {
	v   *view
	e   *entry
	seq uint64
	at  time.Time
}

// maxGraves bounds the tombstones of all views; beyond, the oldest go early.
const maxGraves = 200_000

func (l *loop) openGrave() {
	g := l.graves[0]
	l.graves[0] = grave{}
	l.graves = l.graves[1:]
	if g.e.op == opRemove && g.e.seq == g.seq {
		l.drop(g.v, g.e)
	}
}

// flush tells the sinks what has changed.
func (l *loop) flush() {
	for i, v := range l.touched {
		l.touched[i] = nil
		changes := v.changes
		v.changes = nil
		if v.stopped.Load() {
			continue
		}
		for _, c := range changes {
			l.d.metrics.churn.WithLabelValues(c.Kind.String()).Inc()
		}
		for len(changes) > 0 {
			n := min(len(changes), 1024)
			v.sink.Changed(changes[:n:n])
			changes = changes[n:]
		}
	}
	l.touched = l.touched[:0]
}

// leader notes that a stream has a new leader: what the old one had stored but not yet published is never
// published.
func (l *loop) leader(m *nats.Msg) {
	name := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	if name == leaseStream {
		l.loadLeases()
		return
	}
	for shard := range l.d.o.Shards {
		if name == stream(shard) {
			for _, v := range l.order {
				if v.topic.Channel.IsPattern() || shardOf(v.topic, l.d.o.Shards) == shard {
					l.redo(v, "leader")
				}
			}
		}
	}
}

// reconnected follows a reconnect to the broker: anything may have been missed.
func (l *loop) reconnected() {
	now := time.Now()
	l.lastBeat = now
	for _, p := range l.peers {
		p.heard = now
	}
	l.loadLeases()
	for _, v := range l.order {
		l.redo(v, "reconnect")
	}
}

// tick does what time brings.
func (l *loop) tick(now time.Time) {
	stalled := now.Sub(l.lastTick) > l.d.o.Suspect/2 // we did not run: silence meant nothing
	l.lastTick = now
	for len(l.beats) > 0 {
		l.beat(<-l.beats)
	}
	l.watchPeers(now, stalled)
	l.leaveDue(now)
	for len(l.graves) > 0 && !now.Before(l.graves[0].at) {
		l.openGrave()
	}
	l.takeTurns(now)
	l.d.metrics.watches.Set(float64(len(l.order)))
	l.d.metrics.remote.Set(float64(l.remote))
}
