package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/protocol"
)

// member makes a subscription without a socket.
func member(id protocol.SessionID, identity *protocol.Identity, watches bool) *subscription {
	s := &Session{id: id}
	s.identity.Store(identity)
	m := &subscription{session: s}
	m.presence.Store(watches)
	return m
}

var (
	nobody = &protocol.Identity{}
	ann    = &protocol.Identity{Authenticated: true, DboID: 7, RowID: "1"}
	bob    = &protocol.Identity{Authenticated: true, DboID: 7, RowID: "2"}
)

func audiences(n int) (protocol.Audience, bool) {
	switch n % 6 {
	case 1:
		return protocol.Audience{Kind: protocol.Authenticated}, false
	case 2:
		return protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "1"}, false
	case 3:
		return protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "2"}, false
	case 4:
		return protocol.Audience{Kind: protocol.Socket, Session: "s1"}, false
	case 5:
		return protocol.Audience{}, true
	}
	return protocol.Audience{}, false
}

// Any sequence of audiences, and any begin: a member gets exactly the frames it may see, in order.
func FuzzBatchVisible(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5}, uint8(0))
	f.Add([]byte{0, 0, 0}, uint8(2))
	f.Add([]byte{5, 5, 1, 0, 4, 4, 4, 2}, uint8(5))
	members := []*subscription{member("s1", nobody, false), member("s2", ann, true), member("s3", bob, false), member("s4", nobody, true)}
	f.Fuzz(func(t *testing.T, kinds []byte, begin uint8) {
		if len(kinds) > 200 {
			kinds = kinds[:200]
		}
		var b batch
		starts := []int{}
		frames := []string{}
		for i, k := range kinds {
			starts = append(starts, len(b.buf))
			frame := fmt.Sprintf("<%d.%d>", i, k)
			frames = append(frames, frame)
			b.buf = append(b.buf, frame...)
			b.endRun(audiences(int(k)))
		}
		starts = append(starts, len(b.buf))
		at := int(begin) % len(starts)
		for _, m := range members {
			want := ""
			for i := at; i < len(kinds); i++ {
				audience, watchers := audiences(int(kinds[i]))
				if m.sees(&run{audience: audience, watchers: watchers}) {
					want += frames[i]
				}
			}
			got, calls := "", 0
			b.visible(m, starts[at], func(part []byte) { got += string(part); calls++ })
			if got != want {
				t.Fatalf("%s from %d: got %s, want %s", m.session.id, at, got, want)
			}
			if b.uniform() && calls > 1 {
				t.Fatalf("%d writes for one audience", calls)
			}
		}
	})
}

// The same through topics and sockets, with members that come and go.
func TestAudiences(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			s := bubble(t, testOptions(), nested("chat", 0))
			type who struct {
				*client
				id   string
				want []string
			}
			var clients []*who
			for i := range 6 {
				c := &who{client: s.pipe(t, []string{"", "user-1", "user-2"}[i%3])}
				c.id = c.join("chat/a", "null").Client.SocketID
				clients = append(clients, c)
			}
			pattern := s.pipe(t, "user-1")
			pattern.join("chat/*", "null")
			var wantPattern []string
			for i := range 60 {
				p := event("chat/a", fmt.Sprint(i))
				sees := func(int) bool { return true }
				switch rng.IntN(4) {
				case 1:
					p.Audience = protocol.Audience{Kind: protocol.Authenticated}
					sees = func(n int) bool { return n%3 != 0 }
				case 2:
					p.Audience = protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "2"}
					sees = func(n int) bool { return n%3 == 2 }
				case 3:
					at := rng.IntN(len(clients))
					p.Audience = protocol.Audience{Kind: protocol.Socket, Session: protocol.SessionID(clients[at].id)}
					sees = func(n int) bool { return n == at }
				}
				s.memory.publish(p, false, func(protocol.Receipt, error) {})
				for n, c := range clients {
					if sees(n) {
						c.want = append(c.want, p.ID)
					}
				}
				if p.Audience.Kind < protocol.User {
					wantPattern = append(wantPattern, p.ID)
				}
				if rng.IntN(4) == 0 {
					time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			for i, c := range clients {
				if got := c.events(); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("seed %d, client %d: %v, want %v", seed, i, got, c.want)
				}
			}
			if got := pattern.events(); fmt.Sprint(got) != fmt.Sprint(wantPattern) {
				t.Errorf("seed %d, pattern: %v, want %v", seed, got, wantPattern)
			}
		})
	}
}

// A socket on a channel and on a pattern above it gets each frame once for each name.
func TestPatternAndChannelOnOneSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), nested("chat", 25))
		c := s.pipe(t, "")
		c.join("chat/a", "null")
		c.join("chat/*", "null")
		c.join("chat/*", "null")
		c.send(`{"action":"message","options":{"channel":"chat/a"},"payload":"x"}`)
		time.Sleep(time.Second)
		names := map[string]int{}
		for _, text := range c.texts() {
			if strings.HasPrefix(text, `{"action":"message","options":{"channel":"chat/*","source":"chat/a"`) {
				names["pattern"]++
			} else if strings.HasPrefix(text, `{"action":"message","options":{"channel":"chat/a"`) {
				names["channel"]++
			}
		}
		if names["pattern"] != 1 || names["channel"] != 1 {
			t.Errorf("frames: %v", names)
		}
	})
}

func TestHoldKeepsOrderAndItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.BacklogBytes = 10_000
		s := bubble(t, o, open("room", 0))
		c := s.pipe(t, "")
		c.join("room", "null")
		synctest.Wait() // the join's own hold is released
		top := s.topic(t, "room")
		top.mu.Lock()
		m := top.members[0]
		top.mu.Unlock()
		m.hold.Store(&hold{})
		top.Deliver(event("room", "1"))
		time.Sleep(time.Second)
		top.Deliver(event("room", "2"))
		m.session.sendFrame(func(dst []byte) []byte { return append(dst, `{"action":"answer"}`...) })
		synctest.Wait()
		if n := len(c.events()); n != 0 {
			t.Errorf("%d events before the answer", n)
		}
		m.release()
		synctest.Wait()
		if got := strings.Join(c.texts()[1:], ""); !strings.HasPrefix(got, `{"action":"answer"}`) || fmt.Sprint(c.events()) != "[1 2]" {
			t.Errorf("after the answer: %s", got)
		}
		m.hold.Store(&hold{})
		for range 20 {
			top.Deliver(event("room", strings.Repeat("x", 1000)))
			time.Sleep(10 * time.Millisecond)
		}
		m.release()
		<-c.closed
		if c.code != 1013 {
			t.Errorf("closed with %d", c.code)
		}
	})
}

func TestTextFrames(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65_535, 65_536, 100_000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		want := append(appendTextHeader(nil, n), payload...)
		if got := appendText([]byte("before"), func(dst []byte) []byte { return append(dst, payload...) }); string(got) != "before"+string(want) {
			t.Errorf("%d bytes: wrong frame", n)
		}
		if got := frameLen(append(want, "next"...)); got != len(want) {
			t.Errorf("%d bytes: length %d, want %d", n, got, len(want))
		}
	}
}
