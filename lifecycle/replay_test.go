package lifecycle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// crowd plays clients: it joins, leaves, disconnects, and kills gateways, and knows who is there.
type crowd struct {
	w        *world
	r        *rand.Rand
	gates    []*gate
	sessions map[protocol.SessionID]*gate
	truth    map[string]bool
	n        int
	kills    int
}

func (c *crowd) session(g *gate) protocol.SessionID {
	c.n++
	id := protocol.SessionID(fmt.Sprintf("%s%016d", g.id, c.n))
	g.Connected(1, id, ann)
	c.sessions[id] = g
	return id
}

func (c *crowd) some() (protocol.SessionID, *gate) {
	for id, g := range c.sessions {
		return id, g
	}
	return "", nil
}

func (c *crowd) gone(g *gate) {
	maps.DeleteFunc(c.sessions, func(id protocol.SessionID, at *gate) bool {
		if at == g {
			c.forget(id)
		}
		return at == g
	})
}

func (c *crowd) forget(id protocol.SessionID) {
	maps.DeleteFunc(c.truth, func(k string, _ bool) bool { return k[len(k)-len(id):] == string(id) })
}

func (c *crowd) step() {
	channel := protocol.Channel(fmt.Sprintf("room%d", c.r.IntN(9)))
	switch dice := c.r.IntN(1000); {
	case dice < 150 || len(c.sessions) == 0:
		c.session(c.gates[c.r.IntN(len(c.gates))])
	case dice < 600:
		id, g := c.some()
		key := member(id, channel)
		if !c.truth[key] {
			g.Joined(1, channel, id, ann)
			c.truth[key] = true
		}
	case dice < 850:
		id, g := c.some()
		if key := member(id, channel); c.truth[key] {
			g.Left(1, channel, id, ReasonLeft)
			delete(c.truth, key)
		}
	case dice < 994:
		id, g := c.some()
		g.Disconnected(1, id, ReasonClosed)
		delete(c.sessions, id)
		c.forget(id)
	default: // a gateway ends: without a word, or in order
		i := c.r.IntN(len(c.gates))
		g := c.gates[i]
		if c.r.IntN(3) > 0 {
			g.kill()
			c.kills++
		} else {
			for id, at := range c.sessions {
				if at == g {
					g.Disconnected(1, id, ReasonClosed)
				}
			}
			g.stop()
		}
		c.gone(g)
		c.gates[i] = c.w.start(fmt.Sprintf("n%07d", c.r.IntN(9999999)))
	}
}

func play(t *testing.T, w *world, steps int, meanwhile func(i int)) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	c := &crowd{w: w, r: rand.New(rand.NewPCG(seed, 1)), sessions: map[protocol.SessionID]*gate{}, truth: map[string]bool{}}
	for i := range 3 {
		c.gates = append(c.gates, w.start(fmt.Sprintf("node000%d", i)))
	}
	along := newPicture(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range steps {
		c.step()
		if i%5 == 0 {
			<-tick.C
		}
		if i%300 == 299 {
			if err := along.read(c.gates[0].Log, 1, 50); err != nil {
				t.Log("reading along:", err)
			}
		}
		if meanwhile != nil {
			meanwhile(i)
		}
	}
	// Who read along and who begins now end with the members as they are.
	along.settles(c.gates[0].Log, 1, c.truth)
	fresh := newPicture(t)
	fresh.settles(c.gates[1].Log, 1, c.truth)
	if c.kills > 0 && fresh.reasons[ReasonGatewayLost] == 0 {
		t.Error("gateways were killed, and nobody was lost with them")
	}
	sockets := 0
	for id := range c.sessions {
		if !fresh.sockets[id] {
			t.Errorf("socket %s is not in the picture", id)
		}
		sockets++
	}
	if len(fresh.sockets) != sockets {
		t.Errorf("%d sockets in the picture, %d are open", len(fresh.sockets), sockets)
	}
	t.Logf("%d members, %d sockets, %d kills, reasons %v", len(c.truth), sockets, c.kills, fresh.reasons)
}

// TestReplay: replaying the stream gives exactly who is there, after random comings, goings and deaths of gateways.
func TestReplay(t *testing.T) {
	w := newWorld(t, []string{natstest.Single(t).URL()}, 1, nil)
	play(t, w, 3000, nil)
}

// TestReplayCluster is the same while brokers die.
func TestReplayCluster(t *testing.T) {
	cluster := natstest.NewCluster(t, 3)
	w := newWorld(t, cluster.URLs(), 3, nil)
	play(t, w, 1500, func(i int) {
		switch i {
		case 500:
			cluster.WaitLeader(t, streamName).Stop()
		case 1000:
			for _, n := range cluster.Nodes {
				if n.Server() == nil {
					n.Start(t)
				}
			}
		}
	})
}

// TestStopWhileWriting: who stops in order while events are on their way loses none, and says so of none.
func TestStopWhileWriting(t *testing.T) {
	w := newWorld(t, []string{natstest.Single(t).URL()}, 1, nil)
	reader := w.start("node0000")
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		g := w.start(fmt.Sprintf("n%07d", i))
		wait(t.Context(), 2*time.Millisecond) // it is idle
		for n := range 20 {
			id := protocol.SessionID(fmt.Sprintf("%s%016d", g.id, n))
			g.Connected(1, id, ann)
			g.Joined(1, "room", id, ann)
			if n == 10 {
				wait(t.Context(), time.Duration(r.IntN(3000))*time.Microsecond)
			}
			g.Disconnected(1, id, ReasonClosed)
		}
		g.stop()
	}
	p := newPicture(t)
	p.settles(reader.Log, 1, map[string]bool{})
	if p.lost > 0 || p.reasons[ReasonGatewayLost] > 0 || p.reasons[ReasonClosed] != 40*20 {
		t.Errorf("%d lost, reasons %v", p.lost, p.reasons)
	}
}
