package broker

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

func TestMarks(t *testing.T) {
	var m marks
	for _, step := range []struct {
		origin protocol.NodeID
		number uint64
		late   bool
	}{
		{"node0001", 5, false},
		{"node0001", 5, true},
		{"node0001", 4, true},
		{"node0001", 9, false},
		{"node0001", 8, true},
		{"node0002", 1, false},
		{"node0001", 10, false},
		{"node0002", 1, true},
		{"node0002", 2, false},
		{"short", 1, false},
		{"short", 1, false},
	} {
		if m.late(step.origin, step.number) != step.late {
			t.Errorf("%+v", step)
		}
	}
	// Bounded: the one that was silent longest goes, the others stay.
	name := func(i int) protocol.NodeID { return protocol.NodeID(fmt.Sprintf("gw%06d", i)) }
	for i := range 10 * maxMarks {
		m.late(name(i), 7)
		m.late("node0001", uint64(100+i))
	}
	if len(m) != maxMarks {
		t.Errorf("%d marks, at most %d wanted", len(m), maxMarks)
	}
	if !m.late("node0001", 99) || !m.late(name(10*maxMarks-1), 7) || m.late("node0002", 1) {
		t.Error("the wrong ones were forgotten")
	}
}

// freezer is a link to a broker that freezes as a stopped broker does: what clients have sent waits until it thaws, when
// they have long gone elsewhere.
type freezer struct {
	net.Listener
	thawed chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	to      string
	clients []net.Conn
	frozen  chan struct{} // of the connections from now on
}

func newFreezer(t *testing.T, to string) *freezer {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &freezer{Listener: l, to: strings.TrimPrefix(to, "nats://"), frozen: make(chan struct{}), thawed: make(chan struct{})}
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			p.pipe(in)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.leave()
		p.wg.Wait()
	})
	return p
}

func (p *freezer) pipe(in net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = in.Close()
		return
	}
	p.clients = append(p.clients, in)
	frozen := p.frozen
	p.wg.Go(func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
	})
	p.wg.Go(func() {
		defer out.Close()
		var late []byte
		buffer := make([]byte, 64<<10)
		for {
			n, err := in.Read(buffer)
			select {
			case <-frozen:
				late = append(late, buffer[:n]...)
			default:
				_, _ = out.Write(buffer[:n])
			}
			if err != nil {
				break
			}
		}
		if len(late) > 0 {
			<-p.thawed
			_, _ = out.Write(late)
		}
	})
}

// freeze keeps what is sent on the connections there are. New ones go elsewhere.
func (p *freezer) freeze(elsewhere string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.frozen)
	p.frozen, p.to = make(chan struct{}), strings.TrimPrefix(elsewhere, "nats://")
}

// leave ends the clients' side of the connections.
func (p *freezer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		_ = c.Close()
	}
	p.clients = nil
}

// TestFrozenBroker: what a broker had taken in when it froze, and sends when it goes on, does not come behind what its
// sender has sent since.
func TestFrozenBroker(t *testing.T) {
	cluster := natstest.NewCluster(t, 2)
	link := newFreezer(t, cluster.Nodes[0].URL())
	a := newRig(t, "node000a", ConnectOptions{URLs: []string{"nats://" + link.Addr().String()}}, 1)
	b := newRig(t, "node000b", ConnectOptions{URLs: []string{cluster.Nodes[1].URL()}}, 1)
	_, room := b.attach("room/x", false)
	_, below := b.attach("room/*", false)
	send := func(from, to int) (ids []string) {
		for i := from; i < to; i++ {
			a.mustPublish("room/x", fmt.Sprint(i), false)
			ids = append(ids, fmt.Sprint(i))
		}
		return ids
	}
	// What is not stored goes only where servers know of an interest, and they tell each other in their own time.
	cluster.Nodes[0].AwaitInterest(t, subject.Live(topic("room/x")), subject.Live(topic("room/*")))
	want := send(0, 10)
	room.expect(t, want...)
	below.expect(t, want...)

	link.freeze(cluster.Nodes[1].URL())
	nc := a.o.Client.Publish()
	before := nc.Stats().OutMsgs
	send(10, 20)
	natstest.Eventually(t, "ten on their way", func() bool { return nc.Stats().OutMsgs >= before+10 })
	natstest.Eventually(t, "an empty buffer", func() bool { n, err := nc.Buffered(); return err == nil && n == 0 })
	link.leave()
	natstest.Eventually(t, "another connection", func() bool { return nc.Stats().Reconnects > 0 && nc.IsConnected() })
	want = append(want, send(20, 30)...)
	room.expect(t, want...)
	below.expect(t, want...)
	close(link.thawed)
	natstest.Eventually(t, "the late ones", func() bool { return value(b.metrics.late) == 20 }) // ten for each of two topics
	want = append(want, send(30, 31)...)
	room.expect(t, want...)
	below.expect(t, want...)
}
