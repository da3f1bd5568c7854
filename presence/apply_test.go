package presence

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fanfare/protocol"
)

// handLoop makes a loop that is driven by hand.
func handLoop(t testing.TB) *loop {
	t.Helper()
	n := prepare(t, "me", single(t))
	return &loop{d: n.Directory, aside: func(func(context.Context)) {}, peers: make(map[string]*peer), loading: true}
}

func (l *loop) handView(topic protocol.Topic, sink Sink) *view {
	v := &view{
		loop: l, topic: topic, sink: sink, ready: true,
		entries: make(map[string]*entry), members: make(map[memberID]*member), maxSeq: make([]uint64, 1),
	}
	if !topic.Channel.IsPattern() {
		v.head = head(topic)
	}
	l.order = append(l.order, v)
	return v
}

func (l *loop) handPeer(gw string, s peerState) *peer {
	node, gen, err := parseGateway(gw)
	if err != nil {
		panic(err)
	}
	p := &peer{gw: gw, node: node, gen: gen, ours: node == l.d.o.Node, state: s, heard: time.Now()}
	l.peers[gw] = p
	return p
}

// Whatever order records come in, and however often, while gateways are hidden and shown, each transition is told
// once and the end is what the newest records say.
func TestRecordsInAnyOrder(t *testing.T) {
	l := handLoop(t)
	for round := range 500 {
		topic := room("chat/a")
		if round%2 == 0 {
			topic = room("chat/*")
		}
		l.order, l.graves, l.peers = nil, nil, make(map[string]*peer)
		r := &recorder{t: t, name: fmt.Sprint("round ", round), members: make(map[memberID]string)}
		v := l.handView(topic, r)
		gws := []*peer{l.handPeer("nodeaaaa-1", peerAlive), l.handPeer("nodeaaaa-2", peerAlive), l.handPeer("nodebbbb-1", peerHidden)}
		channels := []string{"1.chat.a.=.", "1.chat.b.=.", "1.chat.=.", "1.chat.a.b.=."}
		type last struct {
			r record
			p *peer
			c string
		}
		newest := map[string]last{}
		var all []record
		for seq := range uint64(40) {
			p, c := gws[rand.N(len(gws))], channels[rand.N(len(channels))]
			rec := record{key: c + p.gw + "." + string(p.node) + fmt.Sprint(rand.N(4)), seq: seq + 1, value: []byte(fmt.Sprint(seq))}
			if rand.N(3) == 0 {
				rec.op, rec.value = opRemove, nil
			}
			newest[rec.key] = last{rec, p, c}
			all = append(all, rec)
			if rand.N(3) == 0 {
				all = append(all, rec)
			}
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, rec := range all {
			l.apply(v, rec, rand.N(2) == 0)
			if rand.N(8) == 0 {
				l.setState(gws[rand.N(len(gws))], []peerState{peerAlive, peerHidden, peerSuspect, peerExpiring}[rand.N(4)])
			}
			l.flush()
		}
		l.setState(gws[0], peerHidden)
		l.setState(gws[1], peerAlive)
		l.setState(gws[2], peerAlive)
		l.flush()
		want := map[memberID]record{}
		for _, n := range newest {
			k, err := parseKey(n.r.key)
			if err != nil {
				t.Fatal(err)
			}
			if n.r.op == opRemove || n.p == gws[0] || topic.Channel != k.channel && !topic.Channel.Covers(k.channel) {
				continue
			}
			id := memberID{k.channel, k.session}
			if w, ok := want[id]; !ok || w.seq < n.r.seq {
				want[id] = n.r
			}
		}
		got := r.list()
		for id, w := range want {
			if got[id] != string(w.value) {
				t.Fatalf("round %d: %v is %q, want %q", round, id, got[id], w.value)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("round %d: %d members, want %d", round, len(got), len(want))
		}
		// An empty view forgets everything once the tombstones are over.
		for k := range newest {
			l.apply(v, record{key: k, seq: 1000, op: opRemove}, false)
		}
		l.flush()
		for len(l.graves) > 0 {
			l.openGrave()
		}
		if len(v.entries)+len(v.members) != 0 {
			t.Fatalf("round %d: %d entries and %d members left", round, len(v.entries), len(v.members))
		}
		r.sees()
		for _, p := range gws {
			if p.entries != 0 {
				t.Fatalf("round %d: %s has %d entries", round, p.gw, p.entries)
			}
		}
	}
	if l.remote != 0 {
		t.Fatalf("%d entries counted", l.remote)
	}
}

// Tombstones are bounded: beyond the bound the oldest go early.
func TestTombstonesAreBounded(t *testing.T) {
	l := handLoop(t)
	r := &recorder{t: t, members: make(map[memberID]string)}
	v := l.handView(room("a"), r)
	p := l.handPeer("nodeaaaa-1", peerAlive)
	for i := range uint64(maxGraves + 1000) {
		k := fmt.Sprintf("1.a.=.%s.s%d", p.gw, i)
		l.apply(v, record{key: k, seq: 2*i + 1, value: []byte("x")}, false)
		l.apply(v, record{key: k, seq: 2*i + 2, op: opRemove}, false)
		l.flush()
	}
	if len(l.graves) != maxGraves || len(v.entries) != maxGraves || len(v.members) != 0 {
		t.Fatalf("%d tombstones, %d entries, %d members", len(l.graves), len(v.entries), len(v.members))
	}
}

// The gateways remembered are bounded; one that does not fit is not shown.
func TestPeersAreBounded(t *testing.T) {
	l := handLoop(t)
	for i := range maxPeers {
		l.handPeer(fmt.Sprintf("%08x-1", i), peerAbsent)
	}
	r := &recorder{t: t, members: make(map[memberID]string)}
	v := l.handView(room("a"), r)
	l.apply(v, record{key: "1.a.=.nodeaaaa-1.s1", seq: 1, value: []byte("x")}, false)
	l.flush()
	if len(l.peers) != maxPeers || len(v.entries) != 0 {
		t.Fatalf("%d gateways, %d entries", len(l.peers), len(v.entries))
	}
	long := time.Now().Add(2 * forget)
	l.watchPeers(long, false)
	if len(l.peers) != 0 {
		t.Fatalf("%d gateways remembered after %s", len(l.peers), 2*forget)
	}
}

// The mark of a leave with grace is written again when its answer was lost; by then the user may be back.
func TestRepeatedLeaveBringsNothingBack(t *testing.T) {
	l := handLoop(t)
	r := &recorder{t: t, members: make(map[memberID]string)}
	v := l.handView(room("a"), r)
	p := l.handPeer("nodeaaaa-1", peerAlive)
	l.handPeer("nodebbbb-1", peerAlive)
	p.card.Going = true
	l.publish()
	jo := entryOf("s", 1, 1, "")
	old, fresh := "1.a.=.nodeaaaa-1.s1", "1.a.=.nodebbbb-1.s2"
	mark := func(seq uint64) record {
		return record{key: old, seq: seq, op: opLeaving, grace: time.Hour, value: jo}
	}
	l.apply(v, record{key: old, seq: 1, value: jo}, false)
	l.apply(v, record{key: fresh, seq: 2, value: jo}, false) // the join is stored before the leave
	l.flush()
	r.sees("s1", "s2")
	l.apply(v, mark(3), false)
	l.flush()
	r.sees("s2")
	l.apply(v, mark(4), false)
	l.flush()
	r.sees("s2")
	if got := r.kinds(); len(got) != 3 {
		t.Errorf("changes %v", got)
	}
}
