package presence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of entries.
const (
	headerOp      = "KV-Operation"
	headerTTL     = "Nats-TTL"
	headerMarker  = "Nats-Marker-Reason"
	headerLeaving = "Fanfare-Leaving" // milliseconds the entry may still be shown
	opPurge       = "PURGE"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
	// writeBatch is how many entries are taken from a queue at once.
	writeBatch = 256
	// leastWindow is how many writes may be in flight however slow the broker is.
	leastWindow = 32
)

// writer sends the roster's entries: asynchronously, at most Window in flight, gathered over Coalesce when they
// come in storms. What is not acknowledged is sent again until it is. Owned by one goroutine.
type writer struct {
	d        *Directory
	acks     chan *nats.Msg
	inbox    string
	term     uint64
	inflight map[uint64]flight
	sent     []sentAt          // in order of time, for timeouts
	late     map[uint64]flight // given up, but their answers still count
	lateIDs  []uint64
	pauses   []pause // by shard
	last     time.Time
	batch    []write
	// window is how many may be in flight now: it grows with acknowledgements and halves when one is overdue, or a
	// slow disk would make everything overdue and be sent again and again.
	window int
	halved time.Time
	// reconnects as last seen.
	reconnects uint64
}

type flight struct {
	m       *own
	id      uint64
	version uint32
	want    want
	shard   int
	at      time.Time
}

type sentAt struct {
	id uint64
	at time.Time
}

// pause keeps a shard without a leader from being hammered.
type pause struct {
	until time.Time
	next  time.Duration
}

func (d *Directory) runWriter(ctx context.Context) error {
	w := &writer{
		d:        d,
		acks:     make(chan *nats.Msg, 2*d.o.Window+64),
		inbox:    d.o.Conn.NewInbox() + ".",
		inflight: make(map[uint64]flight),
		late:     make(map[uint64]flight),
		pauses:   make([]pause, d.o.Shards),
		batch:    make([]write, 0, writeBatch),
		window:   min(writeBatch, d.o.Window),
	}
	sub, err := d.o.Conn.ChanSubscribe(w.inbox+"*", w.acks)
	if err != nil {
		return fmt.Errorf("presence writer: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := w.pump(time.Now())
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-d.roster.wake:
		case <-timer.C:
		case m := <-w.acks:
			w.acked(m)
			for range len(w.acks) {
				w.acked(<-w.acks)
			}
		}
	}
}

// pump sends what may be sent and says when to look again.
func (w *writer) pump(now time.Time) time.Duration {
	w.expire(now)
	next := w.d.o.AckTimeout / 4
	if !w.d.mayWrite(now) {
		return min(next, w.d.o.Refresh)
	}
	if since := now.Sub(w.last); since < w.d.o.Coalesce && len(w.inflight) < w.window/2 {
		return w.d.o.Coalesce - since
	}
	term := w.d.roster.currentTerm()
	if term != w.term {
		w.term = term
		clear(w.inflight)
		clear(w.late)
		w.sent, w.lateIDs = nil, nil
	}
	if n := w.d.reconnects.Load(); n != w.reconnects { // answers to what was sent before do not come
		w.reconnects = n
		for _, s := range w.sent {
			if _, waiting := w.inflight[s.id]; waiting {
				w.fail(s.id, "reconnect", now)
			}
		}
		w.sent = nil
		clear(w.pauses)
	}
	for shard := range w.pauses {
		if until := w.pauses[shard].until; now.Before(until) {
			next = min(next, until.Sub(now))
			continue
		}
		for len(w.inflight) < w.window {
			w.batch = w.d.roster.take(w.term, shard, min(writeBatch, w.window-len(w.inflight)), w.batch[:0])
			if len(w.batch) == 0 {
				break
			}
			w.last = now
			for i := range w.batch {
				w.send(shard, &w.batch[i], now)
			}
			clear(w.batch)
		}
	}
	return next
}

func (w *writer) send(shard int, e *write, now time.Time) {
	id := e.id
	w.inflight[id] = flight{m: e.m, id: id, version: e.version, want: e.want, shard: shard, at: now}
	w.sent = append(w.sent, sentAt{id, now})
	reply := w.inbox + strconv.FormatUint(id, 36)
	var err error
	if e.want == wantEntry {
		err = w.d.o.Conn.PublishRequest(bucketPrefix(shard)+e.key, reply, e.value)
	} else {
		msg := &nats.Msg{Subject: bucketPrefix(shard) + e.key, Reply: reply, Header: nats.Header{}}
		if e.want == wantGone {
			msg.Header[headerOp] = []string{opPurge}
			msg.Header[headerTTL] = []string{ttl(w.d.o.Tombstone)}
		} else {
			msg.Data = e.value
			msg.Header[headerLeaving] = []string{strconv.FormatInt(e.grace.Milliseconds(), 10)}
			msg.Header[headerTTL] = []string{ttl(e.grace)}
		}
		err = w.d.o.Conn.PublishMsg(msg)
	}
	switch {
	case err == nil:
	case errors.Is(err, nats.ErrMaxPayload):
		f := w.inflight[id]
		delete(w.inflight, id)
		w.d.o.Logger.Error("presence entry is too large for the broker", "session", e.m.key.session, "bytes", len(e.value))
		w.d.metrics.writeErrors.WithLabelValues("too_large").Inc()
		w.d.roster.refused(f, w.term)
	default:
		w.fail(id, "send", now)
	}
}

// ttl is a message TTL: whole seconds, at least one.
func ttl(t time.Duration) string {
	return strconv.FormatInt(int64((t+time.Second-1)/time.Second), 10)
}

func (w *writer) acked(m *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, w.inbox), 36, 64)
	if err != nil {
		return
	}
	now := time.Now()
	f, ok := w.inflight[id]
	if !ok {
		if f, ok = w.late[id]; ok {
			w.ackedLate(f, m, now)
		}
		return
	}
	if m.Header != nil && m.Header.Get("Status") != "" {
		w.fail(id, "no_responders", now)
		return
	}
	seq, err := parseAck(m.Data)
	if err != nil {
		w.d.o.Logger.Debug("presence entry not stored", "err", err)
		w.fail(id, "refused", now)
		return
	}
	delete(w.inflight, id)
	w.pauses[f.shard] = pause{}
	w.window = min(w.window+1, w.d.o.Window)
	if a := &w.d.acked[f.shard]; seq > a.Load() {
		a.Store(seq)
	}
	w.d.metrics.writeSeconds.Observe(now.Sub(f.at).Seconds())
	w.d.metrics.written.WithLabelValues(f.want.String()).Inc()
	w.d.roster.landed(f, w.term, now)
}

// ackedLate takes the answer to a write that had been given up: a broker that is behind need not store it twice.
func (w *writer) ackedLate(f flight, m *nats.Msg, now time.Time) {
	delete(w.late, f.id)
	if m.Header.Get("Status") != "" {
		return
	}
	if _, err := parseAck(m.Data); err != nil {
		return
	}
	w.d.metrics.written.WithLabelValues(f.want.String()).Inc()
	w.d.roster.landed(f, w.term, now)
}

// fail puts a write back and pauses its shard.
func (w *writer) fail(id uint64, reason string, now time.Time) {
	f := w.inflight[id]
	delete(w.inflight, id)
	w.d.metrics.writeErrors.WithLabelValues(reason).Inc()
	w.d.roster.failed(f, w.term)
	p := &w.pauses[f.shard]
	if now.Before(p.until) {
		return
	}
	p.next = min(max(2*p.next, retryFirst), retryMost)
	p.until = now.Add(p.next/2 + rand.N(p.next/2))
}

// expire gives up waiting for the answers that are overdue.
func (w *writer) expire(now time.Time) {
	n := 0
	for n < len(w.sent) {
		s := w.sent[n]
		if _, waiting := w.inflight[s.id]; waiting {
			if now.Sub(s.at) < w.d.o.AckTimeout {
				break
			}
			w.late[s.id] = w.inflight[s.id]
			w.lateIDs = append(w.lateIDs, s.id)
			w.fail(s.id, "timeout", now)
			if now.Sub(w.halved) > w.d.o.AckTimeout {
				w.halved, w.window = now, max(w.window/2, min(leastWindow, w.d.o.Window))
			}
		}
		n++
	}
	if n > 0 {
		w.sent = w.sent[n:]
	}
	for len(w.lateIDs) > 4*w.d.o.Window {
		delete(w.late, w.lateIDs[0])
		w.lateIDs = w.lateIDs[1:]
	}
}

// String is the label of a kind of write.
func (k want) String() string {
	switch k {
	case wantLeaving:
		return "leaving"
	case wantGone:
		return "leave"
	case wantEntry:
	}
	return "entry"
}

// parseAck reads a publish acknowledgement.
func parseAck(data []byte) (seq uint64, err error) {
	var ack struct {
		Seq   uint64    `json:"seq"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("acknowledgement %q: %w", bytes.TrimSpace(data), err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// apiError is what the broker says when it refuses.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("broker: %s (%d)", e.Description, e.ErrCode) }
