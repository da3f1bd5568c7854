package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/protocol"
)

// keeper is what one gateway does for all: it ends lost gateways and derives occupied and vacated.
type keeper struct {
	*Log

	missing map[string]time.Time // subjects of gateways without a lease, since when
	over    map[string]ending    // subjects that have been ended
	fold    *fold                // nil until the stream was read from its start
}

// ending is how a subject was left. Should its gateway live and write after all, it is looked at again.
type ending struct {
	messages uint64
	at       time.Time
}

// lookAgain is when an ended subject is looked at even though it seems unchanged.
const lookAgain = time.Minute

// keep does the keeper's work while this gateway is the keeper.
func (l *Log) keep(ctx context.Context) {
	news := make(chan struct{}, 1)
	sub, err := l.o.Control.Subscribe(noticePrefix+">", func(*nats.Msg) {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		l.log.Error("lifecycle: no notices", "err", err)
	} else {
		defer func() { _ = sub.Unsubscribe() }()
	}
	k := &keeper{Log: l, missing: map[string]time.Time{}, over: map[string]ending{}}
	tick := time.NewTicker(l.o.Tick)
	defer tick.Stop()
	news <- struct{}{}
	for {
		look := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look = true
		case <-news:
			if !wait(ctx, l.o.Gather) {
				return
			}
		}
		if !l.o.Keeper() {
			k.fold = nil
			clear(k.missing)
			clear(k.over)
			continue
		}
		var err error
		if look {
			err = k.lookForLost(ctx)
		}
		if err == nil {
			err = k.derive(ctx)
		}
		if err != nil && ctx.Err() == nil {
			l.log.Debug("lifecycle keeper", "err", err)
		}
	}
}

// lookForLost ends the gateways that have written and have had no lease for a while.
func (k *keeper) lookForLost(ctx context.Context) error {
	s, err := k.info(ctx, subjectPrefix+">")
	if err != nil {
		return err
	}
	alive := map[string]bool{string(k.o.Node): true}
	for _, n := range k.o.Alive() {
		alive[string(n)] = true
	}
	now := time.Now()
	for subject := range k.missing {
		if s.Subjects[subject] == 0 {
			delete(k.missing, subject)
		}
	}
	for subject := range k.over {
		if s.Subjects[subject] == 0 {
			delete(k.over, subject)
		}
	}
	for subject := range s.Subjects {
		server, writer, ok := parseSubject(subject)
		if !ok || writer == derived {
			continue
		}
		if alive[writer] {
			delete(k.missing, subject)
			delete(k.over, subject)
			continue
		}
		if over, known := k.over[subject]; known && over.messages == s.Subjects[subject] && now.Sub(over.at) < lookAgain {
			continue
		}
		since, known := k.missing[subject]
		if !known {
			k.missing[subject] = now
			continue
		}
		if now.Sub(since) < k.o.Grace {
			continue
		}
		written, err := k.end(ctx, server, writer)
		if err != nil {
			return err
		}
		k.over[subject] = ending{messages: s.Subjects[subject] + written, at: now}
	}
	return nil
}

// end writes what a lost gateway could not: that its members and sockets are gone. Each message is stored only if
// nobody has written there since the subject was read, so whatever happens each leave stands there once. It tells how
// many messages it wrote.
func (k *keeper) end(ctx context.Context, server protocol.ServerID, writer string) (written uint64, err error) {
	subject := subjectOf(server, writer)
	newest, found, err := k.last(ctx, subject)
	if err != nil || !found {
		return 0, err
	}
	if b, err := decodeBatch(newest.body); err == nil && b.Over {
		return 0, nil
	}
	open := map[protocol.SessionID]*openSession{}
	var through uint64
	for from := uint64(1); through < newest.seq; {
		page, _, err := k.page(ctx, subject, from, time.Time{})
		if err != nil {
			return 0, err
		}
		for _, m := range page {
			if b, err := decodeBatch(m.body); err == nil {
				for i := range b.Events {
					track(open, &b.Events[i])
				}
			}
			through, from = m.seq, m.seq+1
		}
		if len(page) == 0 && !wait(ctx, firstPause) { // the replica is behind
			return 0, ctx.Err()
		}
	}
	events := partings(open, time.Now())
	if time.Since(newest.at) > k.o.Retention {
		// The oldest of its events may be gone, and with them who else was there.
		events = append([]Event{{Type: Lost, At: millis(time.Now()), Gateway: protocol.NodeID(writer)}}, events...)
	}
	at := newest.seq
	for first := true; first || len(events) > 0; first = false {
		n := min(len(events), batchMax)
		b := batch{Version: batchVersion, By: k.o.Node, Number: k.number.Add(1), Events: events[:n], Over: n == len(events)}
		events = events[n:]
		body, err := json.Marshal(b)
		if err != nil {
			return written, fmt.Errorf("lifecycle: %w", err)
		}
		// After an unclear outcome everything is read again, so nothing needs to be repeated here.
		if at, err = k.put(ctx, subject, body, at); err != nil {
			if errors.Is(err, errMoved) {
				k.log.Info("a gateway that seemed lost has written, or somebody else has ended it", "gateway", writer)
			}
			return written, err
		}
		written++
		for i := range b.Events {
			k.metrics.written.WithLabelValues(string(b.Events[i].Type)).Inc()
		}
	}
	k.metrics.ended.Inc()
	k.log.Info("lifecycle of a lost gateway ended", "gateway", writer, "server", int64(server), "sessions", len(open))
	return written, nil
}

// openSession is a socket whose disconnect has not been written.
type openSession struct {
	client   json.RawMessage
	channels map[protocol.Channel]bool
}

// track follows the events of one gateway.
func track(open map[protocol.SessionID]*openSession, e *Event) {
	s := open[e.Session]
	switch e.Type {
	case Connect, Join:
		if s == nil {
			s = &openSession{channels: map[protocol.Channel]bool{}}
			open[e.Session] = s
		}
		s.client = e.Client
		if e.Type == Join {
			s.channels[e.Channel] = true
		}
	case Leave:
		if s != nil {
			delete(s.channels, e.Channel)
		}
	case Disconnect:
		delete(open, e.Session)
	case Lost:
		clear(open)
	case Occupied, Vacated:
	}
}

// partings are the leaves and disconnects of sockets that are gone with their gateway.
func partings(open map[protocol.SessionID]*openSession, now time.Time) []Event {
	sessions := make([]protocol.SessionID, 0, len(open))
	for id := range open {
		sessions = append(sessions, id)
	}
	slices.Sort(sessions)
	var out []Event
	for _, id := range sessions {
		s := open[id]
		channels := make([]protocol.Channel, 0, len(s.channels))
		for c := range s.channels {
			channels = append(channels, c)
		}
		slices.Sort(channels)
		for _, c := range channels {
			out = append(out, Event{Type: Leave, At: millis(now), Session: id, Channel: c, Client: s.client, Reason: ReasonGatewayLost})
		}
		out = append(out, Event{Type: Disconnect, At: millis(now), Session: id, Client: s.client, Reason: ReasonGatewayLost})
	}
	return out
}
