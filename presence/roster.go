package presence

import (
	"context"
	"sync"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// roster is what the bucket should say about our sessions, and how far it does. It is bounded by the sessions
// themselves: each membership stands at most once in a queue, with its latest value.
type roster struct {
	metrics *metrics

	mu      sync.Mutex
	members map[memberKey]*own
	queues  []fifo // by shard; entries to write
	pending int    // members that are dirty or flying
	idle    []chan struct{}
	// gw is the gateway token to write under; empty while we have no lease. term counts its changes.
	gw     string
	term   uint64
	flight uint64 // the last one
	closed bool   // drained: nothing comes in any more

	wake chan struct{} // there is something to write
}

type memberKey struct {
	topic   protocol.Topic
	session protocol.SessionID
}

// want is what should stand in the bucket.
type want uint8

const (
	wantEntry   want = iota // the value
	wantLeaving             // the value, marked: it goes with the grace
	wantGone                // nothing
)

// own is one membership of one of our sessions. Guarded by roster.mu.
type own struct {
	key   memberKey
	value []byte
	grace time.Duration
	acked int64 // Unix nanoseconds of the last acknowledgement
	shard uint8
	want  want
	// dirty: the bucket does not have what is wanted, and nothing in flight will change that.
	dirty bool
	// queued: stands in its shard's queue.
	queued bool
	// flight is the write that is on its way; 0 = none.
	flight uint64
	// version counts what was wanted.
	version uint32
	// stored: something of it may stand in the bucket under the present gateway token.
	stored bool
}

func newRoster(shards int, m *metrics) *roster {
	return &roster{members: make(map[memberKey]*own), queues: make([]fifo, shards), wake: make(chan struct{}, 1), metrics: m}
}

// Put joins one of our sessions to a channel or changes its value. It only queues: the entry is written as soon
// as the broker takes it, the latest value wins, and it is written again whenever the bucket lost it. The value
// must not be changed afterwards.
func (d *Directory) Put(topic protocol.Topic, session protocol.SessionID, value []byte) {
	if err := subject.Check(topic.Channel); err != nil || topic.Server < 1 || !plain(string(session)) {
		d.o.Logger.Error("presence entry refused", "channel", topic.Channel, "session", session, "err", err)
		return
	}
	r := d.roster
	k := memberKey{topic, session}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	m := r.members[k]
	if m == nil {
		m = &own{key: k, shard: uint8(shardOf(topic, d.o.Shards))}
		r.members[k] = m
		r.metrics.members.Set(float64(len(r.members)))
	}
	m.value, m.want, m.grace = value, wantEntry, 0
	m.version++
	r.touchLocked(m)
}

// Delete lets one of our sessions leave. After Handover its entry stays for the grace.
func (d *Directory) Delete(topic protocol.Topic, session protocol.SessionID) {
	r := d.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[memberKey{topic, session}]; m != nil {
		r.leaveLocked(m, time.Duration(d.handover.Load()))
	}
}

func (r *roster) leaveLocked(m *own, grace time.Duration) {
	switch {
	case m.want != wantEntry:
		return
	case !m.stored && m.flight == 0: // nobody has heard of it
		r.dropLocked(m)
		return
	case grace > 0:
		m.want, m.grace = wantLeaving, grace
	default:
		m.want = wantGone
	}
	m.version++
	r.touchLocked(m)
}

// touchLocked notes that the bucket has to change.
func (r *roster) touchLocked(m *own) {
	if !m.dirty {
		m.dirty = true
		if m.flight == 0 {
			r.countLocked(1)
		}
	}
	r.queueLocked(m)
}

// queueLocked puts a dirty member into its queue, unless it is there or in flight already: one write of a
// member at a time keeps their order.
func (r *roster) queueLocked(m *own) {
	if m.queued || m.flight != 0 {
		return
	}
	m.queued = true
	r.queues[m.shard].push(m)
	r.wakeWriter()
}

// dropLocked forgets a member. A queue may still hold it; the writer skips what is not dirty.
func (r *roster) dropLocked(m *own) {
	if m.dirty || m.flight != 0 {
		m.dirty, m.flight = false, 0
		r.countLocked(-1)
	}
	if m.queued {
		r.queues[m.shard].skip()
	}
	delete(r.members, m.key)
	r.metrics.members.Set(float64(len(r.members)))
}

func (r *roster) countLocked(n int) {
	r.pending += n
	r.metrics.pending.Set(float64(r.pending))
	if r.pending == 0 {
		for _, c := range r.idle {
			close(c)
		}
		r.idle = nil
	}
}

func (r *roster) wakeWriter() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// write is one message to send.
type write struct {
	m       *own
	id      uint64
	version uint32
	key     string
	value   []byte
	want    want
	grace   time.Duration
}

// take moves up to n members of a shard from the queue into flight, unless the term has changed.
func (r *roster) take(term uint64, shard, n int, into []write) []write {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gw == "" || r.term != term {
		return into
	}
	for q := &r.queues[shard]; n > 0; {
		m := q.pop()
		if m == nil {
			break
		}
		m.queued = false
		if !m.dirty {
			continue
		}
		r.flight++
		m.dirty, m.flight, m.stored = false, r.flight, true
		into = append(into, write{m: m, id: r.flight, version: m.version, key: head(m.key.topic) + r.gw + "." + string(m.key.session), value: m.value, want: m.want, grace: m.grace})
		n--
	}
	return into
}

// landed notes that a write of the given term was stored. It may be one that had been given up and was sent
// again meanwhile.
func (r *roster) landed(f flight, term uint64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := f.m
	if term != r.term || r.members[m.key] != m {
		return
	}
	if m.flight == f.id {
		m.flight = 0
		if m.version != f.version { // more was wanted meanwhile
			r.queueLocked(m)
			return
		}
	} else if m.version != f.version || m.flight == 0 && !m.dirty {
		return
	}
	m.flight, m.dirty, m.acked = 0, false, now.UnixNano()
	r.countLocked(-1)
	if f.want != wantEntry {
		r.dropLocked(m)
	}
}

// failed puts a write back that was not stored, as far as is known.
func (r *roster) failed(f flight, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := f.m; term == r.term && m.flight == f.id {
		m.flight, m.dirty = 0, true
		r.queueLocked(m)
	}
}

// refused notes a write that can never succeed.
func (r *roster) refused(f flight, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := f.m; term == r.term && m.flight == f.id {
		m.flight = 0
		if m.dirty {
			r.queueLocked(m)
		} else {
			r.countLocked(-1)
		}
	}
}

// setGateway starts a term: everything is written again under the new token. What was written under the old one
// is removed as a whole, so leaves that are due need no tombstone. An empty token stops all writing.
func (r *roster) setGateway(gw string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gw = gw
	r.term++
	for _, m := range r.members {
		if m.flight != 0 { // what is in flight does not count any more
			m.flight, m.dirty = 0, true
			r.queueLocked(m)
		}
		if gw == "" {
			continue
		}
		m.stored = false
		if m.want != wantEntry {
			r.dropLocked(m)
			continue
		}
		r.touchLocked(m)
	}
}

func (r *roster) currentTerm() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term
}

// rewrite marks the members of a shard that were acknowledged after since (Unix nanoseconds): the bucket may have
// lost them.
func (r *roster) rewrite(shard int, since int64) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if int(m.shard) == shard && m.acked >= since && m.want == wantEntry {
			r.touchLocked(m)
			n++
		}
	}
	return n
}

// known tells whether a session is a member, or still has a write to come. Otherwise an entry of ours in the
// bucket is a ghost.
func (r *roster) known(k memberKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[k] != nil
}

// bury writes a tombstone for an entry of ours that has no member.
func (r *roster) bury(k memberKey, shard int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members[k] != nil || r.gw == "" || r.closed {
		return
	}
	m := &own{key: k, shard: uint8(shard), want: wantGone, stored: true, version: 1}
	r.members[k] = m
	r.touchLocked(m)
}

// close takes everything out, with grace, and lets nothing in any more.
func (r *roster) close(grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, m := range r.members {
		r.leaveLocked(m, grace)
	}
}

// settled waits until the bucket has everything.
func (r *roster) settled(ctx context.Context) error {
	r.mu.Lock()
	if r.pending == 0 {
		r.mu.Unlock()
		return nil
	}
	c := make(chan struct{})
	r.idle = append(r.idle, c)
	r.mu.Unlock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fifo is a queue of members. Members dropped while they wait are skipped; when too many of them have gathered
// they are thrown out, so that the queue stays bounded by the members that are there.
type fifo struct {
	items []*own
	first int
	stale int
}

func (q *fifo) push(m *own) { q.items = append(q.items, m) }

func (q *fifo) len() int { return len(q.items) - q.first }

func (q *fifo) pop() *own {
	if q.first == len(q.items) {
		q.items, q.first, q.stale = q.items[:0], 0, 0
		if cap(q.items) > 4096 {
			q.items = nil
		}
		return nil
	}
	m := q.items[q.first]
	q.items[q.first] = nil
	q.first++
	if !m.dirty && q.stale > 0 {
		q.stale--
	}
	if q.first >= 1024 && q.first*2 >= len(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	return m
}

// skip notes that one of the waiting members was dropped.
func (q *fifo) skip() {
	q.stale++
	if q.stale < 256 || q.stale*2 < q.len() {
		return
	}
	n := 0
	for _, m := range q.items[q.first:] {
		if m.dirty {
			q.items[n] = m
			n++
		}
	}
	clear(q.items[n:])
	q.items, q.first, q.stale = q.items[:n], 0, 0
}
