package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"fanfare/protocol"
)

// lane is where a writer stands under one subject.
type lane struct {
	server protocol.ServerID
	seq    uint64 // of its last message
	used   bool   // something stands there
}

const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	batchMax   = 500       // events in a message
	batchBytes = 256 << 10 // and their size, about
)

// write stores what the recorder has until ctx ends; last is for what is under way then.
func (l *Log) write(ctx, last context.Context) {
	repeat := time.NewTicker(max(l.o.Retention/2, time.Millisecond))
	defer repeat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-repeat.C:
			l.againAll()
		case <-l.wake:
			if !wait(ctx, l.o.Gather) {
				return
			}
		}
		for _, server := range l.due() {
			l.writeServer(last, server, false)
		}
	}
}

// close writes the rest, and that this gateway is over.
func (l *Log) close(ctx context.Context) {
	for _, server := range l.due() {
		l.writeServer(ctx, server, false)
	}
	for server, at := range l.lanes {
		if at.used {
			l.writeServer(ctx, server, true)
		}
	}
}

// writeServer stores what is queued for one server. What fails for good ends in a lost event next time.
func (l *Log) writeServer(ctx context.Context, server protocol.ServerID, over bool) {
	notes, lost := l.take(server)
	at := l.lanes[server]
	if at == nil {
		at = &lane{server: server}
		l.lanes[server] = at
	}
	events := make([]Event, 0, min(len(notes)+1, batchMax))
	size := 0
	if lost {
		events = append(events, Event{Type: Lost, At: millis(time.Now()), Gateway: l.o.Node})
		l.log.Warn("lifecycle events were given up; who is there is told again", "server", int64(server))
	}
	send := func(over bool) bool {
		if len(events) == 0 && !over {
			return true
		}
		if !l.store(ctx, at, batch{Events: events, Over: over}) {
			l.metrics.lost.Add(float64(len(events)))
			return false
		}
		events, size = events[:0], 0
		return true
	}
	for i := range notes {
		e := notes[i].event()
		events = append(events, e)
		size += len(e.Client) + len(e.Channel) + 100
		if len(events) >= batchMax || size >= batchBytes {
			if !send(false) {
				return
			}
		}
	}
	send(over)
}

func (n *note) event() Event {
	e := Event{Type: n.kind, At: n.at, Session: n.session, Channel: n.channel, Reason: n.reason, Repeated: n.repeated}
	if n.identity != nil {
		e.Client = protocol.AppendMember(nil, protocol.Member{Session: n.session, Identity: n.identity}, "")
	}
	return e
}

// store writes one batch under our name until it is stored. false: it is not, and never will be: ctx ended, or
// somebody declared us dead. Then everything is told again.
func (l *Log) store(ctx context.Context, at *lane, b batch) bool {
	b.Version, b.By, b.Number = batchVersion, l.o.Node, l.number.Add(1)
	body, err := json.Marshal(b)
	if err != nil {
		l.log.Error("lifecycle events cannot be encoded", "err", err)
		return false
	}
	subject := subjectOf(at.server, string(l.o.Node))
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		seq, err := l.put(ctx, subject, body, at.seq)
		if errors.Is(err, errMoved) {
			var ours bool
			if seq, ours, err = l.settle(ctx, at, subject, b.Number); err == nil && !ours {
				l.again(at.server, true)
				return false
			}
		}
		if err == nil {
			at.seq, at.used = seq, !b.Over
			for i := range b.Events {
				l.metrics.written.WithLabelValues(string(b.Events[i].Type)).Inc()
			}
			return true
		}
		l.metrics.retries.Inc()
		l.log.Debug("lifecycle events not stored yet", "server", int64(at.server), "err", err)
		if !wait(ctx, pause) {
			l.again(at.server, true)
			return false
		}
	}
}

// settle finds out why our last message is not the last one any more: because the batch was stored by an earlier
// attempt, or because somebody wrote in our name or the stream has lost something.
func (l *Log) settle(ctx context.Context, at *lane, subject string, number uint64) (seq uint64, ours bool, err error) {
	m, found, err := l.last(ctx, subject)
	if err != nil {
		return 0, false, err
	}
	if found {
		if b, err := decodeBatch(m.body); err == nil && b.By == l.o.Node && b.Number == number {
			return m.seq, true, nil
		}
	}
	at.seq = m.seq // 0 when nothing is there
	l.log.Warn("somebody else has ended this gateway's lifecycle; who is there is told again", "server", int64(at.server))
	return 0, false, nil
}
