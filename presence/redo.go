package presence

import (
	"context"
	"time"
)

// turnsPerSecond bounds the regular comparisons of views with the bucket: with many watched channels the time
// between two of one view grows beyond Options.Redo.
const turnsPerSecond = 200

// redoShare keeps the regular comparisons of a view that takes long to read to a twentieth of the time.
const redoShare = 20

const regular = "regular"

// redo compares a view with the bucket, as soon as there is room.
func (l *loop) redo(v *view, reason string) {
	switch {
	case v.stopped.Load() || !v.ready:
		return
	case reason != regular:
		v.proved = time.Time{} // so that it is tried again until it succeeds
	}
	switch {
	case v.redoing:
		v.again = reason
	default:
		v.redoing = true
		l.d.metrics.redo.WithLabelValues(reason).Inc()
		l.redos = append(l.redos, v)
		l.startRedos()
	}
}

func (l *loop) startRedos() {
	for l.redoing < maxRedos && len(l.redos) > 0 {
		v := l.redos[0]
		l.redos[0] = nil
		l.redos = l.redos[1:]
		if v.stopped.Load() {
			continue
		}
		l.redoing++
		v.tried = time.Now()
		before := append([]uint64(nil), v.maxSeq...)
		l.aside(func(ctx context.Context) { l.d.compare(ctx, v, before) })
	}
}

// compare reads a view's entries and applies what differs.
func (d *Directory) compare(ctx context.Context, v *view, before []uint64) {
	defer d.posts.add(func(l *loop) {
		v.cost = time.Since(v.tried)
		l.redoing--
		v.redoing = false
		if v.again != "" {
			reason := v.again
			v.again = ""
			l.redo(v, reason)
		}
		l.startRedos()
	})
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	readings, err := d.readTopic(limit, limit, v.topic) // what proves nothing is of no use here
	if err != nil {
		return
	}
	var missing [][]string
	if d.do(ctx, func(l *loop) { missing = l.applyReadings(v, readings, before) }) != nil {
		return
	}
	d.confirm(limit, v, readings, missing)
}

// confirm asks for the entries that a reading in pages did not meet, and removes those that are gone.
func (d *Directory) confirm(ctx context.Context, v *view, readings []reading, missing [][]string) {
	for i, keys := range missing {
		for len(keys) > 0 {
			n := min(len(keys), maxMulti/2)
			r, err := d.readKeys(ctx, readings[i].shard, readings[i].barrier, keys[:n])
			if err != nil {
				return
			}
			asked := keys[:n]
			if d.do(ctx, func(l *loop) { l.applyKeys(v, asked, r) }) != nil {
				return
			}
			keys = keys[n:]
		}
	}
}

// applyReadings brings a view to what was read. before are the sequences the view had seen when the reading
// began. It returns, for each reading in pages, the entries that have to be confirmed.
func (l *loop) applyReadings(v *view, readings []reading, before []uint64) (missing [][]string) {
	if v.stopped.Load() {
		return nil
	}
	told := len(v.changes)
	missing = make([][]string, len(readings))
	proved := true
	for i, r := range readings {
		if r.barrier == 0 {
			proved = false
		}
		if r.barrier > 0 && r.barrier < before[r.shard] { // the bucket was made anew: old sequences mean nothing
			v.maxSeq[r.shard] = 0
			for _, e := range v.entries {
				if int(e.shard) == r.shard {
					e.seq = 0
				}
			}
		}
		for _, rec := range r.records {
			l.apply(v, rec, true)
			l.checkOwn(v, rec)
		}
		if r.barrier > 0 {
			missing[i] = l.applyAbsence(v, r)
		}
	}
	if proved {
		v.proved = time.Now()
	} else {
		v.proved = time.Time{}
	}
	if !v.ready {
		v.ready = true
		v.settleAll(nil)
	} else {
		l.d.metrics.corrected.Add(float64(len(v.changes) - told))
	}
	return missing
}

// applyAbsence removes what the reading does not have.
func (l *loop) applyAbsence(v *view, r reading) (missing []string) {
	seen := make(map[string]struct{}, len(r.records))
	for i := range r.records {
		seen[r.records[i].key] = struct{}{}
	}
	for k, e := range v.entries {
		if int(e.shard) != r.shard || e.op == opRemove || e.seq > r.upTo {
			continue
		}
		if _, ok := seen[k]; ok {
			continue
		}
		if e.op == opLeaving && !r.whole {
			continue // goes by itself
		}
		if r.whole {
			e.seq = r.upTo
			l.remove(v, e)
		} else {
			missing = append(missing, k)
		}
	}
	return missing
}

// applyKeys removes those of the keys that the reading does not have.
func (l *loop) applyKeys(v *view, keys []string, r reading) {
	if v.stopped.Load() {
		return
	}
	told := len(v.changes)
	for _, rec := range r.records {
		l.apply(v, rec, true)
	}
	seen := make(map[string]struct{}, len(r.records))
	for i := range r.records {
		seen[r.records[i].key] = struct{}{}
	}
	for _, k := range keys {
		if _, ok := seen[k]; ok {
			continue
		}
		if e := v.entries[k]; e != nil && e.op != opRemove && e.seq <= r.upTo {
			e.seq = r.upTo
			l.remove(v, e)
		}
	}
	l.d.metrics.corrected.Add(float64(len(v.changes) - told))
}

// checkOwn looks at an entry under our own token found in the bucket: one without a session is a ghost, written
// late by a broker that was being left.
func (l *loop) checkOwn(v *view, r record) {
	e := v.entries[r.key]
	if r.op != opPut || e == nil || e.op != opPut || e.seq != r.seq || !e.peer.ours || e.peer.gw != l.d.current() {
		return
	}
	k, ok := v.parse(r.key)
	if !ok {
		return
	}
	m := memberKey{topicOf(v, memberID{channel: k.channel}), k.session}
	if !l.d.roster.known(m) {
		l.d.metrics.ghosts.Inc()
		l.d.roster.bury(m, int(e.shard))
	}
}

// takeTurns starts the regular comparisons that are due, and looks for messages the connection has dropped.
func (l *loop) takeTurns(now time.Time) {
	if l.full && len(l.d.msgs) < msgsWaiting/2 {
		l.full = false
		for _, v := range l.order {
			l.checkDropped(v)
		}
	}
	tick := max(l.d.o.Heartbeat/8, 5*time.Millisecond)
	for range min(len(l.order), max(1, int(turnsPerSecond*tick/time.Second))) {
		l.turn = (l.turn + 1) % len(l.order)
		v := l.order[l.turn]
		l.checkDropped(v)
		switch {
		case v.redoing || !v.ready:
		case v.proved.IsZero():
			if now.Sub(v.tried) > l.d.o.Patience {
				l.redo(v, "unproven")
			}
		case now.Sub(v.proved) > max(l.d.o.Redo, redoShare*v.cost) && now.Sub(v.tried) > l.d.o.Patience:
			l.redo(v, regular)
		}
	}
}

func (l *loop) checkDropped(v *view) {
	n, err := v.sub.Dropped()
	if err != nil || n == v.dropped {
		return
	}
	l.d.metrics.dropped.Add(float64(max(n-v.dropped, 0)))
	v.dropped = n
	l.redo(v, "dropped")
}
