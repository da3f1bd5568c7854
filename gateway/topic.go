package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// topic is a channel or pattern with members on this node: the end of a Feed, and the place where its frames
// are gathered into batches. A topic is opened by its first member and detached some time after its last one
// has gone (hub.go).
type topic struct {
	hub *Hub
	key protocol.Topic
	// load counts for the realtime server.
	load *serverLoad

	// ready is closed when the topic is attached, or has failed with err; both are set before.
	ready chan struct{}
	err   error
	feed  Feed

	rule atomic.Pointer[policy.Rule] // in force; changed with mu held

	storing  sync.Mutex  // held while the feed is switched
	followed atomic.Bool // the feed follows offsets; changed with storing held

	mu       sync.Mutex
	users    int // joins under way and members: while above 0 the topic stays
	idle     time.Time
	members  []*subscription
	held     []*hold // of a pattern's joining subscribers
	stored   bool
	position protocol.Position
	written  uint64        // newest offset that the members had when the last flush ended
	acked    uint64        // newest offset this node has acknowledged; it may be ahead of position
	arrived  chan struct{} // closed with the next stored publication; nil while nobody waits for one
	ring     ring

	roster   *roster       // nil while nobody asked for presence
	opening  chan struct{} // closed when the roster being opened is there
	stopView func()
	owed     atomic.Bool // members who asked for presence have no list, because the rule had no presence

	batch    batch
	number   uint64        // of batch; grows with every flush
	spare    batch         // the other buffer, while no flush runs
	flushing bool          // a flush runs or is scheduled
	writing  bool          // a flush is writing to the targets
	quiet    sync.Cond     // of mu: a flush has taken the batch, or has written it, or has nothing to write
	settling int           // joins and leaves that wait for the running flush; the next one waits for them
	gather   *time.Timer   // of a flush that waits for further presence changes
	last     time.Time     // when the last flush began
	took     time.Duration // and how long it wrote
	// delivered counts publications handed to members.
	delivered uint64
	targets   []*subscription // of the running flush
	tap       *tap            // nil while nobody wants to know where the time goes
}

func (t *topic) pattern() bool { return t.key.Channel.IsPattern() }

// Reset implements Sink.
func (t *topic) Reset(pos protocol.Position) {
	t.mu.Lock()
	t.position, t.written, t.acked = pos, pos.Offset, 0
	t.ring.reset(pos.Offset)
	t.mu.Unlock()
}

// Deliver implements Sink: the frame joins the topic's batch.
func (t *topic) Deliver(p *protocol.Publication) {
	if t.pattern() {
		// A pattern covers the channels whose own rule is the pattern's; what is aimed at one user or socket
		// does not reach it (design.md 3).
		if p.Audience.Kind >= protocol.User {
			return
		}
		if !t.owns(p.Channel) {
			return
		}
	}
	now := time.Now()
	t.mu.Lock()
	t.roomLocked() // before the position moves: who joins while this waits begins before p or behind it
	if p.Offset > 0 && !t.pattern() {
		if p.Offset <= t.position.Offset {
			t.mu.Unlock()
			return
		}
		t.position.Offset = p.Offset
		t.ring.push(p)
		if t.arrived != nil {
			close(t.arrived)
			t.arrived = nil
		}
	}
	if len(t.members) == 0 {
		t.mu.Unlock()
		return
	}
	if p.Offset > 0 {
		for _, h := range t.held {
			if _, ok := h.first[p.Channel]; !ok {
				h.first[p.Channel] = p.Offset
			}
		}
	}
	t.delivered++
	if t.tap != nil {
		t.tap.arrived(now, p, t.number)
	}
	t.appendLocked(now, p)
	t.flushLocked(now, true)
}

// maxBatchBytes is how much may wait for a flush. It is reached only when the machine cannot keep up.
const maxBatchBytes = 4 << 20

// roomLocked is backpressure: whoever delivers waits until a flush has taken a batch that is too large.
func (t *topic) roomLocked() {
	for t.flushing && len(t.batch.buf) > maxBatchBytes {
		t.quiet.Wait()
	}
}

// settleLocked waits until no flush is writing: what was flushed so far is out to everybody. A hot topic's next
// flush begins only when those who wait have had their turn.
func (t *topic) settleLocked() {
	if !t.writing {
		return
	}
	t.settling++
	for t.writing {
		t.quiet.Wait()
	}
	if t.settling--; t.settling == 0 {
		t.quiet.Broadcast()
	}
}

// noteAcked remembers that a publication was acknowledged: whoever asks afterwards must find it, although it
// may not have come back from the stream yet.
func (t *topic) noteAcked(offset uint64) {
	t.mu.Lock()
	t.acked = max(t.acked, offset)
	if t.tap != nil {
		t.tap.stored(time.Now(), offset)
	}
	t.mu.Unlock()
}

// catchUpWait is how long a reader waits for a stored publication that is on its way to this node.
const catchUpWait = time.Second

// catchUp waits until what is known to be stored, by acknowledgements here or because a client has seen it, has
// arrived. false: it has not, the stream must be asked.
func (t *topic) catchUp(ctx context.Context, seen uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	for {
		t.mu.Lock()
		if t.pattern() || !t.stored || t.position.Offset >= max(seen, t.acked) {
			t.mu.Unlock()
			return true
		}
		if t.arrived == nil {
			t.arrived = make(chan struct{})
		}
		arrived := t.arrived
		t.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return false
		}
	}
}

// appendLocked appends a publication's frame to the batch.
func (t *topic) appendLocked(now time.Time, p *protocol.Publication) {
	b := &t.batch
	if b.empty() {
		b.since = now
	}
	if t.pattern() {
		b.buf = appendText(b.buf, func(dst []byte) []byte { return protocol.AppendForPattern(dst, p, t.key.Channel) })
	} else {
		b.buf = appendTextHeader(b.buf, protocol.PublicationLen(p))
		b.buf = protocol.AppendPublication(b.buf, p)
	}
	b.endRun(p.Audience, false)
	b.accepted = append(b.accepted, p.Accepted)
	if p.Kind == protocol.KindEvent {
		b.events++
	}
	if t.hub.gw.opts.Tracer != nil {
		t.sampleLocked(now, p)
	}
	b.presenceOnly = false
}

// notLive leaves out of a pattern's history what its subscriber gets live: what was delivered while it was held,
// and what is still on its way. A pattern has no single offset to cut at, since its channels live in different
// streams. It ends the noting of what is delivered.
func (t *topic) notLive(h *hold, pubs []*protocol.Publication) []*protocol.Publication {
	delivered := make([]bool, len(pubs))
	for i, p := range pubs {
		delivered[i] = t.feed.Delivered(p) // before the lock: it may be delivering to this topic
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = slices.DeleteFunc(t.held, func(x *hold) bool { return x == h })
	out := pubs[:0:0]
	for i, p := range pubs {
		if first, ok := h.first[p.Channel]; delivered[i] && (!ok || p.Offset < first) {
			out = append(out, p)
		}
	}
	return out
}

// Gap implements Sink.
func (t *topic) Gap(_ protocol.Channel, _, to uint64) {
	e := &protocol.Error{Code: protocol.CodeGap, Message: "Messages were lost and cannot be recovered. Leave and join again with resume."}
	now := time.Now()
	t.mu.Lock()
	if !t.pattern() {
		t.position.Offset = max(t.position.Offset, to)
		t.ring.reset(t.position.Offset)
	}
	if len(t.members) == 0 {
		t.mu.Unlock()
		return
	}
	if t.batch.empty() {
		t.batch.since = now
	}
	t.batch.buf = appendText(t.batch.buf, func(dst []byte) []byte {
		return protocol.AppendError(dst, t.key.Channel, "", e)
	})
	t.batch.endRun(protocol.Audience{}, false)
	t.batch.presenceOnly = false
	t.flushLocked(now, true)
}

// addLocked makes m a member. It gets every frame appended from now on, and none from before.
func (t *topic) addLocked(m *subscription) {
	m.index = len(t.members)
	m.beginAt(t.number, len(t.batch.buf))
	t.members = append(t.members, m)
}

// beginAgainLocked lets a member begin anew, for a repeated join: what was delivered before belongs before the
// answers, what comes later behind them. It gives the waiting frames that the member may see; they will not be
// sent to it again. No flush is writing (settleLocked).
func (t *topic) beginAgainLocked(m *subscription) []byte {
	b := &t.batch
	if b.empty() {
		return nil
	}
	var out []byte
	b.visible(m, m.from(t.number), func(part []byte) { out = append(out, part...) })
	m.beginAt(t.number, len(b.buf))
	return out
}

// removeLocked ends m's membership; false when it was none.
func (t *topic) removeLocked(m *subscription) bool {
	if m.index < 0 || m.index >= len(t.members) || t.members[m.index] != m {
		return false
	}
	last := len(t.members) - 1
	t.members[m.index] = t.members[last]
	t.members[m.index].index = m.index
	t.members[last] = nil
	t.members = t.members[:last]
	m.index = -1
	if last == 0 {
		t.members = nil
	}
	return true
}

// enter keeps the topic from being detached; leave lets it go again.
func (t *topic) leave() {
	t.mu.Lock()
	if t.users--; t.users == 0 {
		t.idle = time.Now()
	}
	t.mu.Unlock()
}

// sameRule compares rules of possibly different revisions of the settings.
func sameRule(a, b *policy.Rule) bool { return a != nil && b != nil && a.ID == b.ID }
