package presence

import (
	"container/heap"
	"time"
)

// leaver is an entry whose session left with grace: its gateway drains, and its user is expected on another one.
type leaver struct {
	v    *view
	e    *entry
	seq  uint64
	user user
	at   time.Time
}

// stands tells whether the entry is still as it was.
func (x *leaver) stands() bool { return x.e.op == opLeaving && x.e.seq == x.seq && !x.v.stopped.Load() }

// leavers are ordered by when their grace ends.
type leavers []leaver

func (h leavers) Len() int           { return len(h) }
func (h leavers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h leavers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *leavers) Push(x any) { *h = append(*h, x.(leaver)) } //nolint:forcetypeassert // only leavers

// Pop is for container/heap.
func (h *leavers) Pop() any {
	old := *h
	n := len(old) - 1
	x := old[n]
	old[n] = leaver{}
	*h = old[:n]
	return x
}

// leaveLater keeps an entry until its user is back or the grace ends. A change that comes live counts its grace
// from now; one that is read counts it from when it was stored, as far as the clocks agree.
func (l *loop) leaveLater(v *view, e *entry, r record, read bool) {
	now := time.Now()
	x := leaver{v: v, e: e, seq: e.seq, at: now.Add(r.grace)}
	if at := r.at.Add(r.grace); read && !r.at.IsZero() && at.Before(x.at) {
		x.at = at
	}
	if u, ok := userOf(e.value); ok {
		if v.arrived.take(u) {
			l.remove(v, e)
			return
		}
		x.user = u
		if v.leaving == nil {
			v.leaving = make(map[user][]leaver)
		}
		v.leaving[u] = append(v.leaving[u], x)
	}
	heap.Push(&l.leavers, x)
}

// leaveDue removes the entries whose grace has ended.
func (l *loop) leaveDue(now time.Time) {
	for len(l.leavers) > 0 && !now.Before(l.leavers[0].at) {
		x := heap.Pop(&l.leavers).(leaver) //nolint:forcetypeassert // only leavers
		if x.stands() {
			l.remove(x.v, x.e)
		}
		list := x.v.leaving[x.user]
		n := 0
		for _, y := range list {
			if y.stands() {
				list[n] = y
				n++
			}
		}
		if n == 0 {
			delete(x.v.leaving, x.user)
		} else {
			clear(list[n:])
			x.v.leaving[x.user] = list[:n]
		}
	}
	for len(l.arrivals) > 0 && now.Sub(l.arrivals[0].at) > arrivalLasts {
		a := l.arrivals[0]
		l.arrivals[0] = arrival{}
		l.arrivals = l.arrivals[1:]
		a.v.arrived.take(a.user)
	}
}

// cameBack lets one leaving entry of the same user go, now that a new one has joined.
func (l *loop) cameBack(v *view, value []byte) {
	if len(v.leaving) == 0 && !l.going {
		return
	}
	u, ok := userOf(value)
	if !ok {
		return
	}
	for list := v.leaving[u]; len(list) > 0; {
		x := list[0]
		list = list[1:]
		v.leaving[u] = list
		if x.stands() {
			if len(list) == 0 {
				delete(v.leaving, u)
			}
			l.remove(v, x.e)
			return
		}
	}
	delete(v.leaving, u)
	if l.going && v.ready && len(l.arrivals) < maxArrivals {
		v.arrived.put(u)
		l.arrivals = append(l.arrivals, arrival{v, u, time.Now()})
	}
}

// arrival is a new entry of a user that came while a gateway drains, and took no leaving entry's place: the
// leave may have been stored later than the join.
type arrival struct {
	v    *view
	user user
	at   time.Time
}

// How long an arrival may be ahead of the leave, and how many are remembered.
const (
	arrivalLasts = 10 * time.Second
	maxArrivals  = 100_000
)

// tally counts users.
type tally map[user]int

func (t *tally) put(u user) {
	if *t == nil {
		*t = make(tally)
	}
	(*t)[u]++
}

func (t tally) take(u user) bool {
	n := t[u]
	if n <= 1 {
		delete(t, u)
	} else {
		t[u] = n - 1
	}
	return n > 0
}
