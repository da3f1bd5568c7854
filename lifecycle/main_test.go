package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

var ann = &protocol.Identity{}

// world is some gateways over one NATS, and who of them holds a lease.
type world struct {
	t        testing.TB
	urls     string
	replicas int
	change   func(*Options)

	mu    sync.Mutex
	alive []protocol.NodeID
}

func newWorld(t testing.TB, urls []string, replicas int, change func(*Options)) *world {
	t.Helper()
	return &world{t: t, urls: strings.Join(urls, ","), replicas: replicas, change: change}
}

func (w *world) living() []protocol.NodeID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.alive)
}

func (w *world) lease(id protocol.NodeID, holds bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive = slices.DeleteFunc(w.alive, func(x protocol.NodeID) bool { return x == id })
	if holds {
		w.alive = append(w.alive, id)
	}
	slices.Sort(w.alive)
}

// gate is one gateway's log.
type gate struct {
	*Log

	w    *world
	id   protocol.NodeID
	kill func() // as kill -9 does
	stop func() // in order
}

func (w *world) connect() *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(w.urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		w.t.Fatal(err)
	}
	return nc
}

func (w *world) start(id string) *gate {
	w.t.Helper()
	nc := w.connect()
	o := Options{
		Control: nc, Reads: nc, Node: protocol.NodeID(id), Replicas: w.replicas, Retention: time.Hour,
		Alive: w.living, Grace: 100 * time.Millisecond, Tick: 50 * time.Millisecond, Gather: time.Millisecond,
		Keeper: func() bool {
			living := w.living()
			return len(living) > 0 && living[0] == protocol.NodeID(id)
		},
	}
	if w.change != nil {
		w.change(&o)
	}
	l, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ensure, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := l.Ensure(ensure); err != nil {
		w.t.Fatal(err)
	}
	w.lease(o.Node, true)
	ctx, end := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { l.keep(ctx) })
	last, endLast := context.WithCancel(context.Background())
	group.Go(func() { l.write(ctx, last) })
	g := &gate{Log: l, w: w, id: o.Node}
	var once sync.Once
	g.kill = func() {
		once.Do(func() {
			nc.Close()
			end()
			endLast()
			group.Wait()
			w.lease(o.Node, false)
		})
	}
	g.stop = func() {
		once.Do(func() {
			end()
			defer endLast()
			group.Wait()
			last, cancel := context.WithTimeout(context.Background(), lastWrites)
			l.close(last)
			cancel()
			nc.Close()
			w.lease(o.Node, false)
		})
	}
	w.t.Cleanup(g.kill)
	return g
}

// picture is what a consumer knows.
type picture struct {
	t        testing.TB
	sockets  map[protocol.SessionID]bool
	members  map[string]bool
	occupied map[protocol.Channel]bool
	cursor   string
	reasons  map[Reason]int
	lost     int
	problems []string
}

func newPicture(t testing.TB) *picture {
	t.Helper()
	return &picture{
		t: t, sockets: map[protocol.SessionID]bool{}, members: map[string]bool{}, occupied: map[protocol.Channel]bool{},
		reasons: map[Reason]int{},
	}
}

func member(s protocol.SessionID, c protocol.Channel) string { return string(c) + " " + string(s) }

func (p *picture) see(e *Entry) {
	key := member(e.Session, e.Channel)
	problem := func(what string) { p.problems = append(p.problems, fmt.Sprintf("%s: %s %+v", e.Cursor, what, e.Event)) }
	switch e.Type {
	case Connect:
		if p.sockets[e.Session] && !e.Repeated {
			problem("connected twice")
		}
		p.sockets[e.Session] = true
	case Disconnect:
		if !p.sockets[e.Session] {
			problem("disconnect of nobody")
		}
		delete(p.sockets, e.Session)
		p.reasons[e.Reason]++
	case Join:
		if p.members[key] && !e.Repeated {
			problem("joined twice")
		}
		p.members[key] = true
	case Leave:
		if !p.members[key] {
			problem("leave of nobody")
		}
		delete(p.members, key)
	case Occupied:
		if p.occupied[e.Channel] && !e.Repeated {
			problem("occupied twice")
		}
		p.occupied[e.Channel] = true
	case Vacated:
		if !p.occupied[e.Channel] {
			problem("vacated twice")
		}
		delete(p.occupied, e.Channel)
	case Lost:
		p.lost++
		maps.DeleteFunc(p.sockets, func(s protocol.SessionID, _ bool) bool { return protocol.NodeOf(s) == e.Gateway })
		maps.DeleteFunc(p.members, func(k string, _ bool) bool {
			_, s, _ := strings.Cut(k, " ")
			return protocol.NodeOf(protocol.SessionID(s)) == e.Gateway
		})
	}
}

// read goes on to the end, limit events at a time.
func (p *picture) read(l *Log, server protocol.ServerID, limit int) error {
	for {
		entries, next, err := l.Read(p.t.Context(), server, p.cursor, limit, false)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		for i := range entries {
			p.see(&entries[i])
		}
		p.cursor = next
	}
}

func channelsOf(members map[string]bool) map[protocol.Channel]bool {
	out := map[protocol.Channel]bool{}
	for k := range members {
		c, _, _ := strings.Cut(k, " ")
		out[protocol.Channel(c)] = true
	}
	return out
}

// settles waits until a consumer that reads from where it is has exactly these members.
func (p *picture) settles(l *Log, server protocol.ServerID, truth map[string]bool) {
	p.t.Helper()
	// What is there by now may be much, in small pages: that takes what it takes.
	err := p.read(l, server, 7)
	natstest.Eventually(p.t, "the picture to be right", func() bool {
		if err = p.read(l, server, 7); err != nil {
			return false
		}
		return maps.Equal(p.members, truth) && maps.Equal(p.occupied, channelsOf(truth))
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range p.problems {
		p.t.Error(s)
	}
}
