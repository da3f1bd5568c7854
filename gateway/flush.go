package gateway

import (
	"time"
)

// Flushing. A message that comes alone leaves at once, in the goroutine that brought it when the topic is
// small. Messages that arrive while a flush runs, or sooner after the last one than the flush interval, leave
// together in the next one: one write per member, however many frames.

// inlineMembers is up to how many members a flush runs in the goroutine that delivers: below it the writes
// cost less than the hand-over; above it the dispatcher must not be held up (about 2 µs a member).
const inlineMembers = 64

// presenceGather is how long presence changes may be gathered when they come in storms (design.md 5).
const presenceGather = 100 * time.Millisecond

// flushLocked is called with t.mu held and something in the batch; it releases t.mu. inline allows the flush
// to run in the caller.
func (t *topic) flushLocked(now time.Time, inline bool) {
	inline = t.startLocked(now, inline)
	t.mu.Unlock()
	if inline {
		t.flush(true)
	}
}

// startLocked sees to it that the batch is flushed; true when the caller has to do that, without t.mu.
func (t *topic) startLocked(now time.Time, inline bool) bool {
	if t.gather != nil && !t.batch.presenceOnly {
		// A message does not wait as long as presence changes may.
		if t.gather.Stop() {
			t.hub.wg.Done()
			t.flushing = false
		}
		t.gather = nil
	}
	if t.flushing {
		return false
	}
	t.flushing = true
	wait := t.waitLocked(now)
	if inline && wait == 0 && len(t.members) <= inlineMembers {
		return true
	}
	t.laterLocked(wait)
	return false
}

// laterLocked lets a flush run after wait, in a goroutine of the hub.
func (t *topic) laterLocked(wait time.Duration) {
	timer := t.hub.later(wait, func() { t.flush(false) })
	if t.batch.presenceOnly {
		t.gather = timer
	}
}

// maxPace is the most that a flush waits because the last one took long.
const maxPace = 10 * time.Millisecond

// waitLocked is how long the batch has to wait: flushes of a channel begin at least the flush interval apart, and,
// when they take long because the members are many or the machine is busy, take half of the time at most.
func (t *topic) waitLocked(now time.Time) time.Duration {
	interval := t.hub.gw.opts.FlushInterval
	if interval > 0 {
		interval = max(interval, min(2*t.took, maxPace))
	}
	if t.batch.presenceOnly {
		interval = max(interval, presenceGather)
	}
	return max(0, interval-now.Sub(t.last))
}

// flush sends the batch, and what arrives meanwhile. once: leave what arrives meanwhile to another goroutine,
// because this one belongs to somebody else.
func (t *topic) flush(once bool) {
	for {
		t.mu.Lock()
		now := time.Now()
		t.gather = nil
		if t.batch.empty() || len(t.members) == 0 {
			t.batch.reset()
			t.number++
			t.flushing = false
			t.quiet.Broadcast() // there may be somebody who waits for room
			t.mu.Unlock()
			return
		}
		b := t.batch
		t.batch, t.spare = t.spare, batch{}
		number, upTo := t.number, t.position.Offset
		t.number++
		t.last = now
		t.targets = append(t.targets[:0], t.members...)
		targets := t.targets
		t.writing = true
		t.quiet.Broadcast()
		t.mu.Unlock()

		t.write(&b, number, targets)
		took := time.Since(now)
		t.hub.gw.metrics.flushed(&b, len(targets), now, t.load)
		if len(b.traced) > 0 {
			t.hub.gw.traceFlush(&b, now, len(targets))
		}

		b.reset()
		t.mu.Lock()
		t.took = took
		t.writing, t.written = false, upTo
		if t.tap != nil {
			t.tap.written(number, now, time.Now())
		}
		t.quiet.Broadcast()
		t.spare = b
		clear(t.targets)
		if cap(t.targets) > 4*len(t.members)+64 {
			t.targets = nil
		}
		for t.settling > 0 {
			t.quiet.Wait()
		}
		if t.batch.empty() {
			t.flushing = false
			t.mu.Unlock()
			return
		}
		if wait := t.waitLocked(time.Now()); once || wait > 0 {
			t.laterLocked(wait)
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
	}
}

// write sends a batch to its targets: those who joined while it was being gathered get the part behind their
// joining.
func (t *topic) write(b *batch, number uint64, targets []*subscription) {
	gw := t.hub.gw
	if len(b.buf) <= min(gw.connLimits.backlogBytes, drainPiece) { // conn.write cuts what is larger
		if w := gw.rings.take(len(targets)); w != nil {
			sent, err := w.write(b, number, targets)
			gw.rings.give(w, err != nil)
			gw.metrics.written(sent, len(targets))
			if err != nil {
				gw.log.Error("io_uring failed; it is not used any more", "err", err)
				gw.rings.stop()
				gw.metrics.ioURing.Set(0)
			}
			return
		}
	}
	gw.metrics.written(0, len(targets))
	if !b.uniform() {
		for _, m := range targets {
			b.visible(m, m.from(number), m.send)
		}
		return
	}
	for _, m := range targets {
		if from := m.from(number); from < len(b.buf) {
			m.send(b.buf[from:])
		}
	}
}
