package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/protocol"
)

// strict is a broker whose topics can be attached once, and whose detaching takes its time.
type strict struct {
	*memory
	attached  map[protocol.Topic]bool
	attaches  int
	hangs     chan struct{} // attaching waits for it
	detaching time.Duration
}

func (b *strict) Attach(ctx context.Context, t protocol.Topic, stored bool, sink Sink) (Feed, error) {
	if b.hangs != nil {
		select {
		case <-b.hangs:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.mu.Lock()
	b.attaches++
	taken := b.attached[t]
	b.attached[t] = true
	b.mu.Unlock()
	if taken {
		return nil, errors.New("attached already")
	}
	feed, err := b.memory.Attach(ctx, t, stored, sink)
	if err != nil {
		b.mu.Lock()
		delete(b.attached, t)
		b.mu.Unlock()
	}
	return strictFeed{feed, b, t}, err
}

// count is how often anything was attached.
func (b *strict) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attaches
}

type strictFeed struct {
	Feed
	b *strict
	t protocol.Topic
}

func (f strictFeed) Detach() {
	time.Sleep(f.b.detaching)
	f.Feed.Detach()
	f.b.mu.Lock()
	delete(f.b.attached, f.t)
	f.b.mu.Unlock()
}

func strictServer(tb testing.TB, change func(*strict)) (*server, *strict) {
	tb.Helper()
	s := newServer(tb, testOptions(), nested("chat", 25), open("room", 25))
	b := &strict{memory: s.memory, attached: map[protocol.Topic]bool{}}
	if change != nil {
		change(b)
	}
	s.ports.Broker = b
	s.run(tb)
	synctest.Wait()
	return s, b
}

// A topic is opened once for all who join, stays for a while when they have gone, and is detached then.
func TestTopicsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := strictServer(t, nil)
		for _, name := range []string{"room", "chat/*"} {
			before := b.count()
			var clients []*client
			for range 5 {
				c := s.pipe(t, "")
				c.join(name, "null")
				clients = append(clients, c)
			}
			for _, c := range clients {
				_ = c.socket.NetConn().Close()
			}
			time.Sleep(topicIdle / 2)
			s.pipe(t, "").join(name, "null") // it is still there
			if b.count() != before+1 {
				t.Errorf("%s: attached %d times", name, b.count()-before)
			}
		}
		for _, x := range s.Sessions(nil) {
			x.conn.drop()
		}
		time.Sleep(2 * topicIdle)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.attached) != 0 || len(*s.hub.patterns.Load()) != 0 {
			t.Errorf("left: %v", b.attached)
		}
		for i := range s.hub.shards {
			shard := &s.hub.shards[i]
			shard.mu.Lock()
			if n := len(shard.topics) + len(shard.leaving); n != 0 {
				t.Errorf("%d topics left", n)
			}
			shard.mu.Unlock()
		}
	})
}

// Who joins while the idle topic is being detached waits for that and gets a new one.
func TestJoinWhileDetaching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := strictServer(t, func(b *strict) { b.detaching = time.Second })
		c := s.pipe(t, "")
		c.join("room", "null")
		c.send(`{"action":"leave","options":{"channel":"room"}}`)
		synctest.Wait()
		for s.hub.find(protocol.Topic{Server: 1, Channel: "room"}) != nil {
			time.Sleep(100 * time.Millisecond)
		}
		c.join("room", "null")
		if b.count() != 2 {
			t.Errorf("attached %d times", b.count())
		}
		c.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`)
		c.action("message")
	})
}

// A topic that cannot be attached is an error to all who wait for it, and is tried anew by the next.
func TestAttachFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := strictServer(t, func(b *strict) { b.fail = errors.New("no broker") })
		var clients []*client
		for _, name := range []string{"room", "room", "chat/*"} {
			c := s.pipe(t, "")
			c.send(joinFrame(name))
			time.Sleep(openTimeout)
			if e := c.action("error"); e.Options.Channel != name || !strings.Contains(string(e.Payload), `"unavailable"`) {
				t.Errorf("error: %+v", e)
			}
			clients = append(clients, c)
		}
		if n := len(s.memory.members()); n != 0 || len(*s.hub.patterns.Load()) != 0 {
			t.Errorf("%d members of a topic that is not open", n)
		}
		b.mu.Lock()
		b.fail = nil
		b.mu.Unlock()
		for _, c := range clients {
			c.join("room", "null")
		}
	})
}

// A join waits while the broker is away for less long than sockets are kept without it: a stock client that is refused
// does not ask again.
func TestJoinWaitsForBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := strictServer(t, func(b *strict) { b.fail = errors.New("no broker") })
		c := s.pipe(t, "")
		c.send(joinFrame("room"))
		time.Sleep(19 * time.Second)
		synctest.Wait()
		if got := c.texts(); len(got) != 0 {
			t.Errorf("answered while the broker is away: %v", got)
		}
		b.mu.Lock()
		b.fail = nil
		b.mu.Unlock()
		c.action("join")
		c.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`)
		c.action("message")
	})
}

// A drain does not wait for joins that wait for the broker.
func TestDrainWhileJoinWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := strictServer(t, func(b *strict) { b.fail = errors.New("no broker") })
		c := s.pipe(t, "")
		c.send(joinFrame("room"))
		synctest.Wait()
		began := time.Now()
		s.Drain(t.Context(), 0)
		if took := time.Since(began); took > time.Second {
			t.Errorf("drained in %s", took)
		}
	})
}

// Attaching that hangs ends with its time, and the sockets that wait for it are free to go on.
func TestAttachHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := strictServer(t, func(b *strict) { b.hangs = make(chan struct{}) })
		c := s.pipe(t, "")
		began := time.Now()
		c.send(joinFrame("room"))
		time.Sleep(openTimeout - attachTimeout)
		if e := c.action("error"); !strings.Contains(string(e.Payload), `"unavailable"`) || time.Since(began) > openTimeout+time.Second {
			t.Errorf("after %v: %+v", time.Since(began), e)
		}
		gone := s.pipe(t, "")
		gone.send(joinFrame("room"))
		synctest.Wait()
		_ = gone.socket.NetConn().Close()
		close(b.hangs)
		synctest.Wait()
		c.join("room", "null")
		if n := len(s.topic(t, "room").members); n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

// Limits of what one socket may join.
func TestChannelsPerSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := strictServer(t, nil)
		c := s.pipe(t, "")
		c.mute.Store(true)
		for i := range s.opts.Limits.Channels {
			time.Sleep(20 * time.Millisecond)
			c.join(fmt.Sprint("chat/", i), "null")
		}
		c.send(joinFrame("chat/one-more"))
		if e := c.action("error"); !strings.Contains(string(e.Payload), "too_many_channels") {
			t.Errorf("error: %+v", e)
		}
		c.join("chat/0", "null") // again is no more
		c.send(`{"action":"leave","options":{"channel":"chat/0"}}`)
		c.join("chat/one-more", "null")
	})
}

// A drain is spread over its window, and waits for what is unanswered.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, testOptions(), open("room", 25))
		s.memory.block = make(chan struct{})
		s.run(t)
		synctest.Wait()
		var clients []*client
		for range 20 {
			c := s.pipe(t, "")
			c.join("room", "null")
			clients = append(clients, c)
		}
		busy := clients[0]
		busy.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`)
		synctest.Wait()
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Drain(t.Context(), 10*time.Second)
		}()
		for second := 1; second <= 10; second++ {
			time.Sleep(time.Second)
			synctest.Wait()
			want := 20 - 2*second
			if left := len(s.Sessions(nil)); left < want-1 || left > want+2 {
				t.Errorf("after %d s %d sockets are left, want about %d", second, left, want)
			}
		}
		select {
		case <-busy.closed:
			t.Error("closed although its message is unanswered")
		default:
		}
		time.Sleep(time.Second)
		close(s.memory.block)
		busy.action("ack")
		<-done
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("took %v", took)
		}
		for _, c := range clients {
			<-c.closed
			if c.code != 1012 {
				t.Errorf("closed with %d", c.code)
			}
		}
	})
}

// Disconnect ends the sockets of a user, or one, for good.
func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		a, b, c := s.pipe(t, "user-1"), s.pipe(t, "user-1"), s.pipe(t, "")
		id := protocol.SessionID(c.join("room", "null").Client.SocketID)
		if n := s.Disconnect(1, "", 7, "1"); n != 2 {
			t.Errorf("%d sockets of the user", n)
		}
		<-a.closed
		<-b.closed
		if n := s.Disconnect(1, "", 0, ""); n != 0 {
			t.Errorf("%d sockets of nobody", n)
		}
		if n := s.Disconnect(2, id, 0, ""); n != 0 {
			t.Errorf("%d sockets of another server", n)
		}
		if n := s.Disconnect(1, id, 0, ""); n != 1 {
			t.Errorf("%d sockets of that name", n)
		}
		<-c.closed
		if a.code != 4401 || c.code != 4401 {
			t.Errorf("closed with %d and %d", a.code, c.code)
		}
	})
}
