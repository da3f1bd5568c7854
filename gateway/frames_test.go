package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/protocol"
)

// Frames that a socket may send, or may not, on the WebSocket level.
func TestWebSocketFrames(t *testing.T) {
	join := joinFrame("room")
	for _, c := range []struct {
		name   string
		bytes  []byte
		answer string // of the first frame; empty = the socket is closed
		close  int
	}{
		{"text", masked(opText, join), `{"action":"join"`, 0},
		{"fragments", append(append(masked(0x01, join[:10]), masked(0x00, join[10:20])...), masked(0x80, join[20:])...), `{"action":"join"`, 0},
		{"fragments around a ping", append(append(masked(0x01, join[:10]), masked(opPing, "p")...), masked(0x80, join[10:])...), "p", 0},
		{"binary", masked(0x82, join), `{"action":"error","options":{},"client":null,"payload":{"message":"Invalid message.","code":"invalid_message","detail":"send text`, 0},
		{"empty", masked(opText, ""), `{"action":"error"`, 0},
		{"not JSON", masked(opText, "hello"), `{"action":"error"`, 0},
		{"array", masked(opText, "["+join+"]"), `{"action":"error"`, 0},
		{"not UTF-8", masked(opText, "{\"action\":\"\xff\"}"), `{"action":"error"`, 0},
		{"unknown action", masked(opText, `{"action":"connection_status"}`), `{"action":"error"`, 0},
		{"too large to take, small enough to answer", masked(opText, large(65<<10)), `{"action":"error","options":{"channel":"room","ref":"big"}`, 0},
		{"ping", masked(opPing, "hello"), "hello", 0},
		{"unmasked", []byte{opText, 2, '{', '}'}, "", 1002},
		{"reserved bit", masked(0xc1, join), "", 1002},
		{"unknown opcode", masked(0x8b, ""), "", 1002},
		{"long ping", masked(opPing, strings.Repeat("x", 126)), "", 1002},
		{"ping in fragments", masked(0x09, "x"), "", 1002},
		{"continuation of nothing", masked(0x80, join), "", 1002},
		{"text within fragments", append(masked(0x01, "a"), masked(opText, join)...), "", 1002},
		{"negative length", []byte{opText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, "", 1002},
		{"beyond 16 times", masked(opText, large(16*64<<10+1)), "", 1009},
		{"beyond 16 times, in fragments", append(masked(0x01, large(10*64<<10)), masked(0x80, large(10*64<<10))...), "", 1009},
		{"close", masked(opClose, "\x03\xe8"), "", 1000},
		{"close for reconnecting", masked(opClose, "\x0f\xa0"), "", 4000},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions()
			s := serve(t, o, open("room", 0))
			r := s.socket(t)
			go func() { _, _ = r.Write(c.bytes) }()
			if c.answer == "" {
				if code := r.closed(); code != c.close {
					t.Errorf("closed with %d, want %d", code, c.close)
				}
				eventually(t, "end", func() bool { return len(s.Sessions(nil)) == 0 })
				reason := map[int]string{1002: "protocol_error", 1009: "too_large"}[c.close]
				if reason == "" {
					reason = "client"
				}
				past, _ := s.Connections(ConnectionsQuery{Server: 1, Limit: 1})
				if len(past) != 1 || past[0].Reason != reason || int(past[0].Code) != c.close {
					t.Errorf("noted as %+v", past)
				}
				eventually(t, "it is counted", func() bool { return testutil.ToFloat64(s.metrics.closes.WithLabelValues(reason)) == 1 })
				return
			}
			if _, payload := r.frame(t); !strings.HasPrefix(payload, c.answer) {
				t.Errorf("answer: %.200s", payload)
			}
			if code := len(s.Sessions(nil)); code != 1 {
				t.Error("the socket is gone")
			}
			if n := counted(t, o.Registerer.(*prometheus.Registry), "fanfare_sessions_closed_total"); n != 0 {
				t.Errorf("%v closed", n)
			}
		})
	}
}

func large(n int) string {
	s := `{"action":"message","options":{"channel":"room","ref":"big"},"payload":"`
	return s + strings.Repeat("x", n-len(s)-2) + `"}`
}

// Who answers pings stays; who is silent is dropped after the pong timeout; who only sends stays too.
func TestPingAndPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		answering := s.pipe(t, "")
		silent, talking := s.pipe(t, ""), s.pipe(t, "")
		for _, c := range []*client{silent, talking} {
			c.mute.Store(true)
		}
		answering.join("room", `{"presence":true}`)
		silent.join("room", "null")
		began, dropped := time.Now(), time.Hour
		for time.Since(began) < 3*time.Minute {
			time.Sleep(10 * time.Second)
			talking.send(`{"action":"leave","options":{"channel":"room"}}`)
			select {
			case <-silent.closed:
				dropped = min(dropped, time.Since(began))
			default:
			}
		}
		if dropped < s.opts.PongTimeout || dropped > s.opts.PongTimeout+10*time.Second {
			t.Fatalf("dropped after %v", dropped)
		}
		if n := len(s.Sessions(nil)); n != 2 {
			t.Errorf("%d sockets are left", n)
		}
		if up := answering.want("leave", func(f *frame) bool { return strings.Contains(string(f.Payload), `"action":"leave"`) }); up.Action != "presence_update" {
			t.Errorf("leave: %+v", up)
		}
	})
}

// A token that runs out on a live socket: it is told, keeps what anonymous clients may have, and is listed as one.
func TestTokenRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closedRule := open("members", 0)
		closedRule.AnonymousClients = false
		s := newServer(t, testOptions(), open("room", 0), closedRule)
		s.ports.Authenticator = expiring{time.Minute}
		s.run(t)
		synctest.Wait()
		watcher, c := s.pipe(t, ""), s.pipe(t, "user-1")
		watcher.join("room", `{"presence":true}`)
		c.join("room", "null")
		c.join("members", "null")
		time.Sleep(59 * time.Second)
		if n := len(c.texts()); n != 2 {
			t.Errorf("too early: %v", c.texts())
		}
		time.Sleep(3 * time.Second)
		if e := c.action("error"); e.Options.Channel != "" || !strings.Contains(string(e.Payload), "token_expired") {
			t.Errorf("error: %+v", e)
		}
		if e := c.action("error"); e.Options.Channel != "members" || !strings.Contains(string(e.Payload), "anonymous_not_allowed") {
			t.Errorf("error: %+v", e)
		}
		c.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`)
		if m := c.action("message"); m.Client.Permissions.RowID.JSON() != "0" {
			t.Errorf("message: %+v", m)
		}
		var updates []string
		for _, text := range watcher.texts() {
			if strings.Contains(text, "presence_update") {
				updates = append(updates, fmt.Sprint(strings.Contains(text, `"action":"join"`), strings.Contains(text, `"row_id":1`)))
			}
		}
		if got := fmt.Sprint(updates); got != "[true true false true true false]" {
			t.Errorf("updates (join, authenticated): %s", got)
		}
		if n := len(s.memory.members()); n != 2 {
			t.Errorf("%d members", n)
		}
	})
}

// The same ref again is published once and answered with the first receipt, however late the first answer is.
func TestRefs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, testOptions(), open("room", 25))
		s.memory.block = make(chan struct{})
		s.run(t)
		synctest.Wait()
		c := s.pipe(t, "")
		c.join("room", "null")
		again := `{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`
		c.send(again)
		c.send(again)
		synctest.Wait()
		close(s.memory.block)
		first := c.action("ack")
		c.send(again)
		for range 2 {
			if ack := c.action("ack"); string(ack.Payload) != string(first.Payload) || ack.Options.Ref != "r" {
				t.Errorf("ack: %+v, first %+v", ack, first)
			}
		}
		if n := len(s.memory.stored); n != 1 {
			t.Errorf("%d stored", n)
		}
		time.Sleep(protocol.DedupeWindow + time.Second)
		c.send(again)
		c.action("ack")
		if n := len(s.memory.stored); n != 2 {
			t.Errorf("%d stored after the window", n)
		}
	})
}

// Over the rate a socket is told once a second, a ref always; it is closed when it goes on for ten seconds.
func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.Limits.FramesPerSecond, o.Limits.FramesBurst = 10, 20
		s := bubble(t, o, open("room", 0))
		c := s.pipe(t, "")
		c.join("room", "null")
		errors := func() int { return strings.Count(strings.Join(c.texts(), ""), "rate_limited") }
		for range 19 {
			c.send(`{"action":"message","options":{"channel":"room"},"payload":1}`)
		}
		c.send(`{"action":"message","options":{"channel":"room"},"payload":"over"}`)
		c.send(`{"action":"message","options":{"channel":"room"},"payload":"silent"}`)
		c.send(`{"action":"message","options":{"channel":"room","ref":"told"},"payload":1}`)
		synctest.Wait()
		if errors() != 2 {
			t.Errorf("%d errors, want one and the one for the ref", errors())
		}
		time.Sleep(time.Minute) // forgiven
		for range 20 {
			c.send(`{"action":"message","options":{"channel":"room"},"payload":1}`)
		}
		synctest.Wait()
		if errors() != 2 {
			t.Errorf("%d errors after a pause", errors())
		}
		began := time.Now()
		for {
			select {
			case <-c.closed:
				if took := time.Since(began); c.code != 1013 || took < rateStrike || took > rateStrike+2*time.Second {
					t.Errorf("closed with %d after %v", c.code, took)
				}
				return
			default:
				_ = c.socket.WriteString(`{"action":"leave","options":{"channel":"room"}}`)
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
}

// Single excesses with pauses between them are no excess that goes on, however small the burst.
func TestRateLimitForgives(t *testing.T) {
	for _, burst := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			o := testOptions()
			o.Limits.FramesPerSecond, o.Limits.FramesBurst = 1, burst
			s := bubble(t, o, open("room", 0))
			c := s.pipe(t, "")
			for range 20 {
				for range burst + 1 {
					c.send(`{"action":"leave","options":{"channel":"room"}}`)
				}
				time.Sleep(2500 * time.Millisecond)
			}
			if n := strings.Count(strings.Join(c.texts(), ""), "rate_limited"); n != 20 {
				t.Errorf("burst %d: %d errors", burst, n)
			}
			select {
			case <-c.closed:
				t.Errorf("burst %d: closed with %d", burst, c.code)
			default:
			}
		})
	}
}

// Refs that are remembered are bounded, also while none of them is answered.
func TestRefsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.BacklogBytes = 8 << 20
		s := bubble(t, o, open("room", 0))
		c := s.pipe(t, "")
		c.join("room", "null")
		session := s.Sessions(nil)[0]
		size := func() int {
			session.refs.mu.Lock()
			defer session.refs.mu.Unlock()
			return max(len(session.refs.known), len(session.refs.order))
		}
		for i := range 10 * maxRefs {
			session.repeated("room", fmt.Sprint("pending", i), fmt.Sprint("pending", i))
		}
		if n := size(); n > 4*maxRefs {
			t.Errorf("%d pending refs", n)
		}
		synctest.Wait()
		if n := strings.Count(strings.Join(c.texts(), ""), "overloaded"); n != 6*maxRefs {
			t.Errorf("%d refused", n)
		}
		time.Sleep(time.Minute)
		for i := range 10 * maxRefs {
			ref := fmt.Sprint("answered", i)
			session.repeated("room", ref, ref)
			session.refDone(ref, protocol.Receipt{ID: ref}, nil)
		}
		if n := size(); n > maxRefs+1 {
			t.Errorf("%d answered refs", n)
		}
	})
}

// Who sends too much is told so, and not cut off while it still sends.
func TestTooLargeIsToldToTheEnd(t *testing.T) {
	s := serve(t, testOptions(), open("room", 0))
	r := s.socket(t)
	if _, err := r.Write(masked(opText, large(12<<20))); err != nil {
		t.Errorf("cut off while sending: %v", err)
	}
	if code := r.closed(); code != 1009 {
		t.Errorf("closed with %d", code)
	}
}
