package bench

import (
	"bytes"
	"context"
	"sync"
	"time"
)

const watchJoin = `{"history":false,"presence":true}`

// change is what an observer was told of one socket.
type change struct {
	socket string
	at     time.Duration
}

// observer is the account of one. Its fields belong to its reader until the connection has ended.
type observer struct{ joins, leaves []change }

// presence is members that join a channel which observers watch, until every observer has seen every member; then all
// members are cut at once, until every observer has seen them leave.
func (r *run) presence(ctx context.Context) error {
	members := r.o.Members
	observers := make([]observer, r.o.Observers)
	watch := func(c *conn, k kind, frame []byte, at time.Duration) {
		if k != kindPresenceUpdate {
			return
		}
		_, after, ok := bytes.Cut(frame, []byte(`"payload":{"action":"`))
		if !ok {
			return
		}
		_, name, ok := bytes.Cut(after[:min(len(after), 200)], []byte(`"socketId":"`))
		if !ok {
			return
		}
		name, _, _ = bytes.Cut(name, []byte{'"'})
		o := &observers[c.id-members]
		switch {
		case len(o.joins)+len(o.leaves) > 4*members+1000: // others are at work on the channel
		case after[0] == 'j':
			o.joins = append(o.joins, change{string(name), at})
			c.shard.received.Add(1)
		case after[0] == 'l':
			o.leaves = append(o.leaves, change{string(name), at})
			c.shard.received.Add(1)
		}
	}
	if _, err := r.launch(ctx, fleet{first: members, n: r.o.Observers, parallel: r.o.Parallel, ask: watchJoin, handle: watch}); err != nil {
		return err
	}
	r.drain(ctx, 0)
	p, err := r.begin(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	joined := make(map[string]time.Duration, members)
	before := r.received()
	start := r.now()
	connect, err := r.launch(ctx, fleet{
		n: members, rate: r.o.Rate, parallel: r.o.Parallel, ask: plainJoin, handle: silent,
		opened: func(c *conn, due time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			joined[c.answer.socket] = due
		},
	})
	if err != nil {
		return err
	}
	expected := int64(members) * int64(r.o.Observers)
	r.drain(ctx, before+expected)
	cutAt := r.now()
	r.closing.Store(true)
	r.cut(r.conns[:members])
	r.closing.Store(false)
	r.drain(ctx, before+2*expected)
	if err := r.end(ctx, p, 0); err != nil {
		return err
	}
	r.hangUp() // from here on the observers' accounts are ours
	f := &PresenceFigures{Observers: r.o.Observers, JoinsExpected: expected}
	var joins, leaves histogram
	for i := range observers {
		o := &observers[i]
		f.JoinsSeen += tally(o.joins, joined, &joins, func(socket string) time.Duration { return joined[socket] }, start, &f.JoinSeconds)
		f.LeavesSeen += tally(o.leaves, joined, &leaves, func(string) time.Duration { return cutAt }, cutAt, &f.LeaveSeconds)
	}
	f.JoinLatency, f.LeaveLatency = summarize(&joins), summarize(&leaves)
	r.result.Connect, r.result.Presence, r.result.Rate = connect, f, r.o.Rate
	return nil
}

// tally counts each of our sockets once.
func tally(seen []change, ours map[string]time.Duration, h *histogram, since func(string) time.Duration, start time.Duration, last *float64) (n int64) {
	known := make(map[string]bool, len(seen))
	for _, s := range seen {
		if _, mine := ours[s.socket]; !mine || known[s.socket] {
			continue
		}
		known[s.socket] = true
		n++
		h.record(s.at - since(s.socket))
		*last = max(*last, round((s.at-start).Seconds(), 3))
	}
	return n
}
