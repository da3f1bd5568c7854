package lifecycle

import (
	"sync"
	"time"

	"fanfare/protocol"
)

// Recorder takes what a gateway tells and queues it for the writer. Its methods may be called from any goroutine,
// never wait, and do no more than a few map operations under one lock. The order of the calls for one session is
// the order of the events.
type Recorder struct {
	max  int
	m    *metrics
	wake chan struct{}
	// room wakes nobody: the bound is met by giving up, not by waiting.

	mu      sync.Mutex
	queued  int
	servers map[protocol.ServerID]*ledger
}

// ledger is what the writer has still to say about one realtime server, and who is there.
type ledger struct {
	queue []note
	// resync: events were given up. The queue stays empty until the writer has told everything anew.
	resync   bool
	repeat   bool // everything is to be told again behind the queue
	sessions map[protocol.SessionID]*presentSession
}

// note is an event before its client object is encoded.
type note struct {
	kind     Type
	at       int64
	session  protocol.SessionID
	channel  protocol.Channel
	identity *protocol.Identity
	reason   Reason
	repeated bool
}

// presentSession is a socket that is open now.
type presentSession struct {
	identity *protocol.Identity
	at       int64
	channels map[protocol.Channel]int64 // since when
}

func newRecorder(max int, m *metrics) *Recorder {
	return &Recorder{max: max, m: m, wake: make(chan struct{}, 1), servers: map[protocol.ServerID]*ledger{}}
}

func (r *Recorder) ledgerLocked(id protocol.ServerID) *ledger {
	l := r.servers[id]
	if l == nil {
		l = &ledger{sessions: map[protocol.SessionID]*presentSession{}}
		r.servers[id] = l
	}
	return l
}

// Connected says that a socket is open.
func (r *Recorder) Connected(server protocol.ServerID, s protocol.SessionID, id *protocol.Identity) {
	now := millis(time.Now())
	r.mu.Lock()
	l := r.ledgerLocked(server)
	l.sessions[s] = &presentSession{identity: id, at: now}
	r.addLocked(l, note{kind: Connect, at: now, session: s, identity: id})
	r.mu.Unlock()
	r.signal()
}

// Disconnected says that a socket has ended. Channels it has not left until now are left with it.
func (r *Recorder) Disconnected(server protocol.ServerID, s protocol.SessionID, why Reason) {
	now := millis(time.Now())
	r.mu.Lock()
	l := r.ledgerLocked(server)
	p := l.sessions[s]
	if p == nil {
		r.mu.Unlock()
		return
	}
	for c := range p.channels {
		r.addLocked(l, note{kind: Leave, at: now, session: s, channel: c, identity: p.identity, reason: why})
	}
	delete(l.sessions, s)
	r.addLocked(l, note{kind: Disconnect, at: now, session: s, identity: p.identity, reason: why})
	r.mu.Unlock()
	r.signal()
}

// Joined says that a socket is a member of a channel; again, with who it is now, when that has changed.
func (r *Recorder) Joined(server protocol.ServerID, c protocol.Channel, s protocol.SessionID, id *protocol.Identity) {
	now := millis(time.Now())
	r.mu.Lock()
	l := r.ledgerLocked(server)
	p := l.sessions[s]
	if p == nil { // it has ended meanwhile
		r.mu.Unlock()
		return
	}
	if p.channels == nil {
		p.channels = make(map[protocol.Channel]int64, 1)
	}
	_, again := p.channels[c]
	p.channels[c], p.identity = now, id
	r.addLocked(l, note{kind: Join, at: now, session: s, channel: c, identity: id, repeated: again})
	r.mu.Unlock()
	r.signal()
}

// Left says that a socket is no member of a channel any more.
func (r *Recorder) Left(server protocol.ServerID, c protocol.Channel, s protocol.SessionID, why Reason) {
	now := millis(time.Now())
	r.mu.Lock()
	l := r.ledgerLocked(server)
	p := l.sessions[s]
	if p == nil {
		r.mu.Unlock()
		return
	}
	if _, there := p.channels[c]; !there {
		r.mu.Unlock()
		return
	}
	delete(p.channels, c)
	r.addLocked(l, note{kind: Leave, at: now, session: s, channel: c, identity: p.identity, reason: why})
	r.mu.Unlock()
	r.signal()
}

// addLocked queues an event, or gives the server's queue up when there is no room.
func (r *Recorder) addLocked(l *ledger, n note) {
	if l.resync {
		r.m.lost.Inc()
		return
	}
	if r.queued >= r.max {
		r.giveUpLocked(l)
		r.m.lost.Inc()
		return
	}
	l.queue = append(l.queue, n)
	r.queued++
}

func (r *Recorder) giveUpLocked(l *ledger) {
	r.m.lost.Add(float64(len(l.queue)))
	r.m.resyncs.Inc()
	r.queued -= len(l.queue)
	l.queue, l.resync = nil, true
}

func (r *Recorder) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// due lists the servers with something to write.
func (r *Recorder) due() []protocol.ServerID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []protocol.ServerID
	for id, l := range r.servers {
		if len(l.queue) > 0 || l.resync || l.repeat {
			out = append(out, id)
		}
	}
	return out
}

// take gives what is to be written for a server next: the queue and, when everything is to be told again, all that
// is so behind it. lost: events are missing before it.
func (r *Recorder) take(server protocol.ServerID) (notes []note, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.servers[server]
	if l == nil {
		return nil, false
	}
	notes, lost = l.queue, l.resync
	r.queued -= len(notes)
	if l.resync || l.repeat {
		for s, p := range l.sessions {
			notes = append(notes, note{kind: Connect, at: p.at, session: s, identity: p.identity, repeated: true})
			for c, at := range p.channels {
				notes = append(notes, note{kind: Join, at: at, session: s, channel: c, identity: p.identity, repeated: true})
			}
		}
	}
	l.queue, l.resync, l.repeat = nil, false, false
	if len(l.sessions) == 0 && len(notes) == 0 && !lost {
		delete(r.servers, server)
	}
	return notes, lost
}

// again has everything told again: behind a gap, or because it is time.
func (r *Recorder) again(server protocol.ServerID, gap bool) {
	r.mu.Lock()
	l := r.ledgerLocked(server)
	if gap && !l.resync {
		r.giveUpLocked(l)
	}
	l.repeat = true
	r.mu.Unlock()
	r.signal()
}

// againAll has everything of all servers told again.
func (r *Recorder) againAll() {
	r.mu.Lock()
	for _, l := range r.servers {
		l.repeat = len(l.sessions) > 0
	}
	r.mu.Unlock()
	r.signal()
}
