package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/protocol"
)

func event(channel protocol.Channel, payload string) *protocol.Publication {
	p := &protocol.Publication{Server: 1, Channel: channel, Kind: protocol.KindEvent, Accepted: time.Now(), ID: payload}
	p.Frame, p.Splice = protocol.AppendEvent(nil, channel, p.Audience, p.ID, []byte(`"`+payload+`"`))
	return p
}

func (s *server) topic(tb testing.TB, channel protocol.Channel) *topic {
	tb.Helper()
	t := s.hub.find(protocol.Topic{Server: 1, Channel: channel})
	if t == nil {
		tb.Fatalf("topic %s is not open", channel)
	}
	return t
}

// A message that comes alone leaves at once; those that follow within the flush interval leave together when it
// has passed.
func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.FlushInterval = 50 * time.Millisecond
		s := bubble(t, o, open("room", 0))
		c := s.pipe(t, "")
		c.join("room", "null")
		time.Sleep(time.Second)
		top, began := s.topic(t, "room"), time.Now()
		for i := range 3 {
			top.Deliver(event("room", fmt.Sprint(i)))
		}
		synctest.Wait()
		if got := len(c.events()); got != 1 {
			t.Errorf("at once: %d events, want the first", got)
		}
		c.want("third", func(f *frame) bool { return f.Options.ID == "2" })
		if took := time.Since(began); took != o.FlushInterval {
			t.Errorf("second flush after %v, want %v", took, o.FlushInterval)
		}
	})
}

// events are the payloads of the events received so far.
func (c *client) events() []string {
	var out []string
	for _, text := range c.texts() {
		if _, id, ok := strings.Cut(text, `"id":"`); ok && strings.HasPrefix(text, `{"action":"event"`) {
			id, _, _ = strings.Cut(id, `"`)
			out = append(out, id)
		}
	}
	return out
}

// Presence changes in a storm are gathered; a message that comes meanwhile does not wait with them.
func TestPresenceIsGatheredAndMessagesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		watcher := s.pipe(t, "")
		watcher.join("room", `{"presence":true,"history":false}`)
		time.Sleep(time.Second)
		updates := func() int { return strings.Count(strings.Join(watcher.texts(), ""), "presence_update") }
		began := time.Now()
		for range 20 {
			s.pipe(t, "").join("room", "null")
			synctest.Wait()
		}
		if got := updates(); got != 1 {
			t.Errorf("%d updates at once, want the first", got)
		}
		top := s.topic(t, "room")
		top.Deliver(event("room", "m"))
		watcher.want("message", func(f *frame) bool { return f.Options.ID == "m" })
		if took := time.Since(began); took > s.opts.FlushInterval {
			t.Errorf("the message waited %v", took)
		}
		if got := updates(); got != 20 {
			t.Errorf("%d updates before the message, want all that came before it", got)
		}
		time.Sleep(time.Second)
		began = time.Now()
		s.pipe(t, "").join("room", "null")
		synctest.Wait()
		s.pipe(t, "").join("room", "null")
		for updates() < 22 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began).Truncate(10 * time.Millisecond); took != presenceGather {
			t.Errorf("storm gathered for %v", took)
		}
	})
}

// Whoever waits for room in a batch is woken when all members leave meanwhile.
func TestRoomWhenMembersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.FlushInterval = time.Second
		s := bubble(t, o, open("room", 0))
		c := s.pipe(t, "")
		c.join("room", "null")
		time.Sleep(2 * time.Second)
		top := s.topic(t, "room")
		big := event("room", strings.Repeat("x", 1<<20))
		top.Deliver(event("room", "first"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 10 {
				top.Deliver(big)
			}
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("a batch grew without a bound")
		default:
		}
		c.send(`{"action":"leave","options":{"channel":"room"},"payload":null}`)
		<-done
	})
}

// Under constant traffic, repeated joins and leaving and joining again neither lose, double nor misplace
// anything that the channel's history and its live frames tell.
func TestJoinAgainUnderTraffic(t *testing.T) {
	for _, leave := range []bool{false, true} {
		t.Run(fmt.Sprintf("leave=%v", leave), func(t *testing.T) {
			o := testOptions()
			o.Limits.FramesPerSecond = 0
			o.FlushInterval = time.Millisecond
			s := serve(t, o, open("room", 1000))
			for range 100 { // enough members that flushes take a while, in goroutines of their own
				s.listener(t, "room")
			}
			c, sender := s.dial(t, ""), s.dial(t, "")
			c.join("room", "null")
			sender.join("room", "null")
			const messages = 200
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range messages {
					sender.send(fmt.Sprintf(`{"action":"message","options":{"channel":"room"},"payload":%d}`, i))
				}
			}()
			for range 10 {
				if leave {
					c.send(`{"action":"leave","options":{"channel":"room"},"payload":null}`)
				}
				c.join("room", `{"history":true,"presence":false}`)
			}
			<-done
			sender.sync("end")
			c.send(`{"action":"history","options":{"channel":"room"},"payload":{"limit":1}}`)
			c.want("last", func(f *frame) bool { return f.Action == "history" && strings.Contains(string(f.Payload), "more") })
			checkStory(t, c.texts(), !leave)
		})
	}
}

// checkStory reads what a client saw of a channel: live messages continue where the join's history ended.
// always: the client has been a member all the time, so that live messages have no hole at all.
func checkStory(t *testing.T, texts []string, always bool) {
	t.Helper()
	seen, live := uint64(0), uint64(0)
	for _, text := range texts {
		switch {
		case strings.HasPrefix(text, `{"action":"history"`) && !strings.Contains(text, `"more"`):
			offsets := offsetsOf(text)
			for i, off := range offsets {
				if off != uint64(i+1) {
					t.Fatalf("history has %d at %d", off, i)
				}
			}
			if n := uint64(len(offsets)); n < seen {
				t.Fatalf("history ends at %d, live frames went to %d before it", n, seen)
			} else if always && n != seen {
				t.Fatalf("history ends at %d, live frames before it at %d", n, seen)
			} else {
				seen = n
			}
		case strings.HasPrefix(text, `{"action":"message"`):
			off := offsetsOf(text)[0]
			if off != seen+1 && seen+live > 0 {
				t.Fatalf("message %d after %d", off, seen)
			}
			seen, live = off, live+1
		}
	}
}

func offsetsOf(text string) []uint64 {
	var out []uint64
	for part := range strings.SplitSeq(text, `"offset":"`) {
		var n uint64
		if _, err := fmt.Sscanf(part, "%d", &n); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// A flush that takes long is followed by as long a pause, up to a bound; one that takes no time, by the flush interval.
func TestFlushesTakeHalfOfTheTime(t *testing.T) {
	for name, c := range map[string]struct{ interval, writes, want time.Duration }{
		"quick":     {5 * time.Millisecond, 0, 5 * time.Millisecond},
		"slow":      {5 * time.Millisecond, 4 * time.Millisecond, 8 * time.Millisecond},
		"very slow": {5 * time.Millisecond, 8 * time.Millisecond, maxPace},
		"too slow":  {5 * time.Millisecond, 80 * time.Millisecond, 80 * time.Millisecond},
		"off":       {0, 8 * time.Millisecond, 8 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := testOptions()
				o.FlushInterval = c.interval
				s := bubble(t, o, open("room", 0))
				session := s.attach(&sink{}, nobody)
				session.process(message([]byte(joinFrame("room"))))
				var began []time.Time
				session.conn.direct = func(b []byte) (int, error) {
					began = append(began, time.Now())
					time.Sleep(c.writes)
					return len(b), nil
				}
				time.Sleep(time.Second)
				top := s.topic(t, "room")
				for range 2 {
					top.Deliver(event("room", "m"))
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if len(began) != 2 || began[1].Sub(began[0]) != c.want {
					t.Errorf("flushes at %v, want two that begin %v apart", began, c.want)
				}
				for _, m := range session.subs {
					m.leave(false)
				}
			})
		})
	}
}
