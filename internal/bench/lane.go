package bench

// lane keeps account of what one connection gets of one sender on one channel: sequence numbers from 0. It tells
// duplicates from messages that come late for the last 64; what is older than that counts as a duplicate.
type lane struct {
	next uint32 // the next in order
	seen uint64 // bit i: next-1-i came
}

// verdict is what a sequence number means for its lane.
type verdict byte

const (
	inOrder verdict = iota
	ahead           // others are missing before it
	late            // it was missing
	duplicate
)

func (l *lane) take(seq uint32) verdict {
	switch {
	case seq == l.next:
		l.next++
		l.seen = l.seen<<1 | 1
		return inOrder
	case seq > l.next:
		if skipped := seq - l.next; skipped < 63 {
			l.seen = l.seen<<(skipped+1) | 1
		} else {
			l.seen = 1
		}
		l.next = seq + 1
		return ahead
	}
	back := l.next - 1 - seq
	if back >= 64 || l.seen&(1<<back) != 0 {
		return duplicate
	}
	l.seen |= 1 << back
	return late
}
