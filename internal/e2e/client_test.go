package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/freeport"
	"fanfare/internal/natstest"
	"fanfare/internal/node"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// startNode runs a node with the demo server until the test or stop ends it, and gives its address.
func startNode(t *testing.T, listen, data string) (addr string, stop func()) {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir, cfg.Drain = listen, "", data, 50*time.Millisecond
	cfg.Broker.Sync = config.Sync(time.Second) // many small messages, and no crash of the machine in this test
	cfg.Limits.FramesPerSecond = 0
	n, err := node.New(cfg, node.Options{Logger: slog.New(slog.DiscardHandler), Dev: true, Stdout: io.Discard, Embedded: embedded})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	for tick := time.NewTicker(5 * time.Millisecond); n.Addr() == "" || !n.Ready(); <-tick.C {
		if len(done) > 0 {
			t.Fatal("the node ended")
		}
	}
	return n.Addr(), stop
}

// proxy passes connections on until they are cut.
type proxy struct {
	net.Listener
	to    string
	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to, conns: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.pipe(in, out)
			p.pipe(out, in)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) pipe(from, to net.Conn) {
	p.mu.Lock()
	p.conns[from] = true
	p.mu.Unlock()
	p.wg.Go(func() {
		_, _ = io.Copy(to, from)
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	})
}

// cut ends all connections in the middle of whatever they do.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func dialNode(t *testing.T, addr string, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), "ws://"+addr+"/rt/demo", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func joinNode(t *testing.T, c *client.Client, name string, o client.ChannelOptions) *client.Channel {
	t.Helper()
	ch := c.Channel(name, o)
	if err := ch.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := kind[*client.Joined](t, ch); !e.First || e.Self.Socket == "" {
		t.Errorf("%+v", e)
	}
	return ch
}

// TestNodeExactlyOnce: under constant traffic, with the connection cut again and again and an application that
// is slow at times, every stored message arrives once and in order.
func TestNodeExactlyOnce(t *testing.T) {
	addr, _ := startNode(t, "127.0.0.1:0", filepath.Join(t.TempDir(), "data"))
	p := newProxy(t, addr)
	sender := joinNode(t, dialNode(t, addr, client.Options{QueueEvents: 1}), "room1", client.ChannelOptions{})
	receiver := joinNode(t, dialNode(t, p.Addr().String(), client.Options{
		QueueEvents: 24, BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}), "room1", client.ChannelOptions{})

	const total = 90 // fewer than the channel keeps, so that every resume can be proved
	random := rand.New(rand.NewPCG(1, 2))
	sent := make(chan []string, 1)
	go func() {
		var acked []string
		for i := range total {
			text := fmt.Sprint(i)
			if _, err := sender.Send(t.Context(), text); err != nil {
				t.Error(err)
			}
			acked = append(acked, text)
			if i%9 == 4 {
				p.cut()
			}
		}
		sent <- acked
	}()
	var got []string
	for len(got) < total {
		switch e := next(t, receiver).(type) {
		case *client.Message:
			got = append(got, strings.Trim(string(e.Data), `"`))
			if random.IntN(4) == 0 {
				<-time.After(time.Duration(random.IntN(8)) * time.Millisecond)
			}
		case *client.Gap:
			t.Fatalf("gap: %s", e.Reason)
		}
	}
	if want := <-sent; !slices.Equal(got, want) {
		t.Errorf("received %v", got)
	}
}

// TestNodeRestart: a node that drains and comes back on the same data costs its clients nothing.
func TestNodeRestart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	listen, err := freeport.Addr() // nobody else is given it while the node is away and its clients knock
	if err != nil {
		t.Fatal(err)
	}
	addr, stop := startNode(t, listen, data)
	quick := client.Options{BackoffMin: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond}
	a := joinNode(t, dialNode(t, addr, quick), "room1", client.ChannelOptions{})
	b := joinNode(t, dialNode(t, addr, quick), "room1", client.ChannelOptions{})
	send := func(text string) {
		t.Helper()
		if _, err := a.Send(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	send("before")
	wantMessages(t, b, "before")
	stop()
	kind[*client.Disconnected](t, b)
	again, _ := startNode(t, addr, data)
	if again != addr {
		t.Fatal(again)
	}
	send("after") // waits for its connection
	if e := kind[*client.Joined](t, b); e.First || !e.Resumed {
		t.Errorf("%+v", e)
	}
	wantMessages(t, b, "after")

	// A program that starts again goes on from the position it kept.
	from := b.Position()
	send("meanwhile")
	c := dialNode(t, addr, quick).Channel("room1", client.ChannelOptions{From: &from})
	if err := c.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := kind[*client.Joined](t, c); !e.Resumed {
		t.Errorf("%+v", e)
	}
	wantMessages(t, c, "meanwhile")
	from.Epoch = "another"
	d := dialNode(t, addr, quick).Channel("room1", client.ChannelOptions{From: &from})
	if err := d.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	kind[*client.Gap](t, d)
	kind[*client.Joined](t, d)
	if h := kind[*client.History](t, d); len(h.Messages) != 3 || string(h.Messages[2].Data) != `"meanwhile"` {
		t.Errorf("%+v", h)
	}
}

func TestNodePresence(t *testing.T) {
	addr, _ := startNode(t, "127.0.0.1:0", filepath.Join(t.TempDir(), "data"))
	a := joinNode(t, dialNode(t, addr, client.Options{}), "room1", client.ChannelOptions{Presence: true})
	if l := kind[*client.PresenceList](t, a); len(l.Members) != 1 || l.Members[0].Socket != a.Self().Socket {
		t.Errorf("%+v", l)
	}
	second := dialNode(t, addr, client.Options{})
	b := joinNode(t, second, "room1", client.ChannelOptions{Presence: true})
	if l := kind[*client.PresenceList](t, b); len(l.Members) != 2 {
		t.Errorf("%+v", l)
	}
	if e := kind[*client.PresenceChange](t, a); e.Action != protocol.PresenceJoin || e.Member.Socket != b.Self().Socket {
		t.Errorf("%+v", e)
	}
	if err := b.SetPresence(t.Context(), map[string]any{"typing": true}); err != nil {
		t.Fatal(err)
	}
	if e := kind[*client.PresenceChange](t, a); e.Action != protocol.PresenceUpdate || string(e.Member.Data) != `{"typing":true}` {
		t.Errorf("%+v", e)
	}
	// A private message reaches its one recipient.
	if _, err := b.SendTo(t.Context(), "psst", client.SendOptions{To: a.Self().Socket}); err != nil {
		t.Fatal(err)
	}
	if m := kind[*client.Message](t, a); m.To != a.Self().Socket || m.Sender.Socket != b.Self().Socket {
		t.Errorf("%+v", m)
	}
	var refused *protocol.Error
	if _, err := b.SendTo(t.Context(), "psst", client.SendOptions{To: "nobody"}); !errors.As(err, &refused) || refused.Code != protocol.CodeRecipientNotFound {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if e := kind[*client.PresenceChange](t, a); e.Action != protocol.PresenceLeave {
		t.Errorf("%+v", e)
	}
	if l := a.Presence(); len(l) != 1 {
		t.Errorf("%+v", l)
	}
}

func TestNodeHistoryAndPatterns(t *testing.T) {
	addr, _ := startNode(t, "127.0.0.1:0", filepath.Join(t.TempDir(), "data"))
	c := dialNode(t, addr, client.Options{})
	ch := joinNode(t, c, "chat/a", client.ChannelOptions{})
	pattern := joinNode(t, dialNode(t, addr, client.Options{}), "chat/*", client.ChannelOptions{Presence: true})
	if l := kind[*client.PresenceList](t, pattern); len(l.Members) != 1 || l.Members[0].Source != "chat/a" {
		t.Errorf("%+v", l)
	}
	var offsets []uint64
	for i := range 10 {
		r, err := ch.Send(t.Context(), i)
		if err != nil || r.ID == "" || len(offsets) > 0 && r.Offset <= offsets[len(offsets)-1] {
			t.Fatalf("%+v %v", r, err)
		}
		offsets = append(offsets, r.Offset)
		if m := kind[*client.Message](t, pattern); m.Channel != "chat/a" || m.ID != r.ID || m.Offset != r.Offset {
			t.Errorf("%+v", m)
		}
	}
	page := func(q client.HistoryQuery, more bool, want ...int) {
		t.Helper()
		p, err := ch.History(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, m := range p.Messages {
			var n int
			if err := m.Decode(&n); err != nil {
				t.Error(err)
			}
			got = append(got, n)
		}
		if !slices.Equal(got, want) || p.More != more {
			t.Errorf("%+v: %v %v, want %v %v", q, got, p.More, want, more)
		}
	}
	page(client.HistoryQuery{Limit: 3}, true, 7, 8, 9)
	page(client.HistoryQuery{Limit: 3, Before: offsets[2]}, false, 0, 1)
	page(client.HistoryQuery{Limit: 2, After: &offsets[5]}, true, 6, 7)
	page(client.HistoryQuery{Since: time.Now().Add(time.Hour)}, false)

	var refused *protocol.Error
	if _, err := pattern.Send(t.Context(), 1); !errors.As(err, &refused) || refused.Code != protocol.CodePatternSend {
		t.Error(err)
	}
	if err := c.Channel("nowhere", client.ChannelOptions{}).Join(t.Context()); !errors.As(err, &refused) || refused.Code != protocol.CodeChannelNotFound {
		t.Error(err)
	}
	if _, err := ch.Send(t.Context(), strings.Repeat("x", 70<<10)); !errors.As(err, &refused) || refused.Code != protocol.CodeTooLarge {
		t.Error(err)
	}
	stranger, err := client.Dial(t.Context(), "ws://"+addr+"/rt/other", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	<-stranger.Done()
	var closed *client.CloseError
	if err := stranger.Err(); !errors.As(err, &closed) || closed.Code != protocol.CloseGoAway || !errors.As(err, &refused) || refused.Code != protocol.CodeUnknownHash {
		t.Error(err)
	}
}

func next(t *testing.T, ch *client.Channel) client.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := ch.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// kind waits for an event of type E.
func kind[E client.Event](t *testing.T, ch *client.Channel) E {
	t.Helper()
	e := next(t, ch)
	got, ok := e.(E)
	if !ok {
		b, _ := json.Marshal(e)
		t.Fatalf("%T %s, want %T", e, b, got)
	}
	return got
}

func wantMessages(t *testing.T, ch *client.Channel, texts ...string) {
	t.Helper()
	for _, want := range texts {
		m := kind[*client.Message](t, ch)
		var got string
		if err := m.Decode(&got); err != nil || got != want {
			t.Fatalf("message %s, want %q", m.Data, want)
		}
	}
}

// embedded makes the broker of a node that has it inside.
func embedded(dataDir, sync string, log *slog.Logger) (node.Embedded, error) {
	return natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dataDir, Sync: sync, Logger: log})
}
