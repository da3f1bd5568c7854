package presence

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// embedded is the broker of `fanfare dev`: in process, without a port, synced always.
func embedded(b *testing.B) *Directory {
	b.Helper()
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: b.TempDir(), SyncAlways: true, SyncInterval: time.Second,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
	})
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	b.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	d, err := New(Options{Conn: nc, Node: "nodeaaaa", Solo: true})
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	if err := d.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	return d
}

// A storm of 1000 joins until the bucket has them all, each storm followed by its leaves.
func BenchmarkStorm(b *testing.B) {
	d := embedded(b)
	value := entryOf("nodeaaaa0000000000000000", 17, 3, "")
	sessions := make([]protocol.SessionID, 1000)
	topics := make([]protocol.Topic, 1000)
	for i := range sessions {
		sessions[i] = protocol.SessionID(fmt.Sprintf("nodeaaaa%016x", i))
		topics[i] = room(fmt.Sprintf("chat/%d", i%50))
	}
	b.ReportAllocs()
	joins := time.Duration(0)
	for b.Loop() {
		at := time.Now()
		for i, s := range sessions {
			d.Put(topics[i], s, value)
		}
		if err := d.roster.settled(b.Context()); err != nil {
			b.Fatal(err)
		}
		joins += time.Since(at)
		for i, s := range sessions {
			d.Delete(topics[i], s)
		}
		if err := d.roster.settled(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(joins.Milliseconds())/float64(b.N), "ms/1000joins")
}

// One lone join until it is stored.
func BenchmarkLoneJoin(b *testing.B) {
	d := embedded(b)
	value := entryOf("nodeaaaa0000000000000000", 17, 3, "")
	s := protocol.SessionID("nodeaaaa0000000000000000")
	for b.Loop() {
		b.StopTimer()
		time.Sleep(2 * d.o.Coalesce) // lone: outside of a storm
		b.StartTimer()
		d.Put(room("chat/1"), s, value)
		if err := d.roster.settled(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// Put alone: what it costs the gateway's join path.
func BenchmarkPut(b *testing.B) {
	n := prepare(b, "aa", single(b))
	sessions := make([]protocol.SessionID, 10_000)
	for i := range sessions {
		sessions[i] = n.session()
	}
	topic, value := room("chat/1"), []byte("{}")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n.Put(topic, sessions[i%len(sessions)], value)
		i++
	}
}

type countingSink struct{ n int }

func (s *countingSink) Changed(c []Change) { s.n += len(c) }

// Changes of a channel with 10 000 members taken in and told.
func BenchmarkApply(b *testing.B) {
	for _, name := range []string{"chat/a", "chat/*"} {
		b.Run(name, func(b *testing.B) {
			l := handLoop(b)
			sink := &countingSink{}
			v := l.handView(room(name), sink)
			l.handPeer("nodebbbb-1", peerAlive)
			msgs := make([]*nats.Msg, 10_000)
			for i := range msgs {
				s := protocol.SessionID(fmt.Sprintf("nodebbbb%016x", i))
				msgs[i] = &nats.Msg{Subject: livePrefix + "1.chat.a.=.nodebbbb-1." + string(s), Header: nats.Header{}}
			}
			seq := 0
			b.ReportAllocs()
			for b.Loop() {
				seq++
				m := msgs[seq%len(msgs)]
				m.Data = fmt.Appendf(nil, `{"socketId":"x","extras":{},"permissions":{"dbo_id":1,"row_id":%d}}`, seq)
				m.Header["Nats-Sequence"] = []string{fmt.Sprint(seq)}
				r, ok := liveRecord(m, livePrefix)
				if !ok {
					b.Fatal("not read")
				}
				l.apply(v, r, false)
				l.flush()
			}
			if sink.n != seq {
				b.Fatalf("%d changes told of %d", sink.n, seq)
			}
		})
	}
}

// A gateway of 10 000 members hidden and shown again in one view.
func BenchmarkHide(b *testing.B) {
	l := handLoop(b)
	v := l.handView(room("chat/a"), &countingSink{})
	p := l.handPeer("nodebbbb-1", peerAlive)
	for i := range uint64(10_000) {
		l.apply(v, record{key: fmt.Sprintf("1.chat.a.=.nodebbbb-1.nodebbbb%016x", i), seq: i + 1, value: []byte("{}")}, false)
	}
	for b.Loop() {
		l.setState(p, peerHidden)
		l.flush()
		l.setState(p, peerAlive)
		l.flush()
	}
}

// Watch of a channel that has members on another gateway, over a 3-node cluster.
func BenchmarkWatch(b *testing.B) {
	c := natstest.NewCluster(b, 3)
	x, y := start(b, "aa", c.URLs(), three), start(b, "bb", c.URLs(), three)
	for _, members := range []int{0, 10, 900} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			topic := room(fmt.Sprintf("room%d", members))
			x.fill(topic, members)
			for b.Loop() {
				w, err := y.Watch(b.Context(), topic, &countingSink{})
				if err != nil {
					b.Fatal(err)
				}
				w.Stop()
			}
		})
	}
}
