package gateway

import (
	"time"

	"fanfare/protocol"
)

// batch is what waits for a topic's next flush: encoded WebSocket frames, one behind the other. The same
// bytes go to every member who may see them.
type batch struct {
	buf []byte
	// runs cut buf by audience; each run ends where the next begins. One run for everyone is the normal case.
	runs []run
	// accepted is when each publication in the batch was accepted by the first gateway.
	accepted []time.Time
	events   int // how many of them are events of back ends
	// traced are the sampled ones among them; nil without tracing.
	traced []traced
	// presenceOnly: nothing but presence changes wait, which may be gathered longer.
	presenceOnly bool
	// since is when the first frame was appended.
	since time.Time
}

// run is a stretch of frames with one audience.
type run struct {
	end      int
	audience protocol.Audience
	// watchers: only for members who asked for presence, but for audience.Session.
	watchers bool
}

// Sizes at which a batch's memory is not kept for reuse.
const (
	keepBatchBytes = 256 << 10
	keepBatchMsgs  = 4096
)

func (b *batch) reset() {
	if cap(b.buf) > keepBatchBytes {
		b.buf = nil
	}
	if cap(b.accepted) > keepBatchMsgs {
		b.accepted = nil
	}
	b.buf, b.runs, b.accepted = b.buf[:0], b.runs[:0], b.accepted[:0]
	clear(b.traced)
	b.traced, b.events = b.traced[:0], 0
	b.presenceOnly = false
}

func (b *batch) empty() bool { return len(b.buf) == 0 }

// endRun closes the frames appended since the last run as one run, or adds them to the last one.
func (b *batch) endRun(audience protocol.Audience, watchers bool) {
	if last := len(b.runs) - 1; last >= 0 && b.runs[last].watchers == watchers && b.runs[last].audience == audience {
		b.runs[last].end = len(b.buf)
		return
	}
	b.runs = append(b.runs, run{end: len(b.buf), audience: audience, watchers: watchers})
}

// uniform tells whether everyone gets everything.
func (b *batch) uniform() bool {
	return len(b.runs) == 1 && b.runs[0].audience.Kind == protocol.Everyone && !b.runs[0].watchers
}

// visible calls f for each stretch of frames that m may see, from byte from on, in order and as few as the
// runs allow.
func (b *batch) visible(m *subscription, from int, f func([]byte)) {
	b.spans(m, from, func(begin, end int) { f(b.buf[begin:end]) })
}

// spans is visible with the places in the buffer.
func (b *batch) spans(m *subscription, from int, f func(begin, end int)) {
	if from >= len(b.buf) {
		return
	}
	if b.uniform() {
		f(from, len(b.buf))
		return
	}
	start, open := 0, -1 // open is where the stretch of visible runs begins
	for i := range b.runs {
		r := &b.runs[i]
		if r.end > from {
			begin := max(start, from)
			if m.sees(r) {
				if open < 0 {
					open = begin
				}
			} else if open >= 0 {
				f(open, begin)
				open = -1
			}
		}
		start = r.end
	}
	if open >= 0 {
		f(open, len(b.buf))
	}
}
