package gateway

import (
	"fmt"
	"strings"
	"testing"
)

func TestJoinMessageEcho(t *testing.T) {
	s := serve(t, testOptions(), nested("chat", 25))
	a, b := s.dial(t, ""), s.dial(t, "user-3")
	ja := a.join("chat/1", `{"history":true,"presence":true}`)
	if ja.Options.Offset != "0" || ja.Options.Epoch == "" || string(ja.Payload) != "null" {
		t.Errorf("join answer: %+v", ja)
	}
	a.action("presence_full")
	if h := a.action("history"); string(h.Payload) != `{"history":[]}` {
		t.Errorf("history: %s", h.Payload)
	}
	b.join("chat/1", `{"history":false,"presence":false}`)
	up := a.action("presence_update")
	if !strings.Contains(string(up.Payload), `"action":"join"`) || !strings.Contains(string(up.Payload), `"row_id":3`) {
		t.Errorf("presence_update: %s", up.Payload)
	}
	a.send(`{"action":"message","options":{"channel":"chat/1","ref":"r1"},"payload":{"n": 1}}`)
	for _, c := range []*client{a, b} {
		m := c.action("message")
		if string(m.Payload) != `{"n": 1}` || m.Options.Offset != "1" || m.Client.SocketID != ja.Client.SocketID {
			t.Errorf("message: %+v", m)
		}
	}
	eventually(t, "ack", func() bool { return strings.Contains(strings.Join(a.texts(), ""), `"action":"ack"`) })
	_ = b.socket.NetConn().Close()
	if up := a.action("presence_update"); !strings.Contains(string(up.Payload), `"action":"leave"`) {
		t.Errorf("leave: %s", up.Payload)
	}
}

func TestUnknownHashIsClosedForGood(t *testing.T) {
	s := serve(t, testOptions(), open("room", 0))
	c := s.dialHash(t, "other", "")
	<-c.closed
	if c.code != 4401 || len(c.raw) != 1 || !strings.Contains(c.raw[0], "Unknown connection hash") {
		t.Errorf("code %d, frames %v", c.code, c.raw)
	}
}

func TestCloseCode4000IsEchoed(t *testing.T) {
	s := serve(t, testOptions(), open("room", 0))
	c := s.dial(t, "")
	if err := c.socket.WriteClose(4000, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "session gone", func() bool { return len(s.Sessions(nil)) == 0 })
}

// Members that join while messages flow get every message exactly once across history and live.
func TestHistoryAndLiveMeet(t *testing.T) {
	o := testOptions()
	o.Limits.FramesPerSecond = 0
	s := serve(t, o, open("room", 1000))
	sender := s.dial(t, "")
	sender.join("room", "null")
	const messages = 400
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range messages {
			sender.send(fmt.Sprintf(`{"action":"message","options":{"channel":"room"},"payload":"m%d."}`, i))
		}
	}()
	var clients []*client
	for range 40 {
		c := s.dial(t, "")
		c.send(`{"action":"join","options":{"channel":"room"},"payload":{"history":true,"presence":false}}`)
		clients = append(clients, c)
	}
	<-done
	sender.sync("end")
	for i, c := range clients {
		last := fmt.Sprintf(`"m%d."`, messages-1)
		eventually(t, "last message", func() bool { return strings.Contains(strings.Join(c.texts(), ""), last) })
		all := strings.Join(c.texts(), "")
		at := -1
		for n := range messages {
			want := fmt.Sprintf(`"m%d."`, n)
			if got := strings.Count(all, want); got != 1 {
				t.Fatalf("client %d: %d times message %d", i, got, n)
			}
			if pos := strings.Index(all, want); pos < at {
				t.Fatalf("client %d: message %d out of order", i, n)
			} else {
				at = pos
			}
		}
	}
}

func TestPatternGetsEverythingBelow(t *testing.T) {
	s := serve(t, testOptions(), nested("chat", 25), open("chat/secret", 25))
	p, a := s.dial(t, ""), s.dial(t, "")
	p.join("chat/*", `{"history":false,"presence":true}`)
	p.action("presence_full")
	a.join("chat/a/b", "null")
	if up := p.action("presence_update"); up.Options.Channel != "chat/*" || up.Options.Source != "chat/a/b" {
		t.Errorf("presence: %+v", up)
	}
	a.join("chat/secret", "null")
	a.send(`{"action":"message","options":{"channel":"chat/secret"},"payload":1}`)
	a.send(`{"action":"message","options":{"channel":"chat/a/b"},"payload":2}`)
	m := p.action("message")
	if m.Options.Channel != "chat/*" || m.Options.Source != "chat/a/b" || string(m.Payload) != "2" {
		t.Errorf("message: %+v", m)
	}
	p.send(`{"action":"message","options":{"channel":"chat/*"},"payload":2}`)
	if e := p.action("error"); !strings.Contains(string(e.Payload), "pattern_send") {
		t.Errorf("error: %s", e.Payload)
	}
}

func TestPrivateReachesOnlyItsRecipient(t *testing.T) {
	s := serve(t, testOptions(), open("room", 25))
	a, b, c := s.dial(t, ""), s.dial(t, ""), s.dial(t, "")
	for _, x := range []*client{a, b, c} {
		x.join("room", "null")
	}
	to := b.join("room", "null").Client.SocketID
	a.send(`{"action":"message","options":{"channel":"room","socketId":"` + to + `","ref":"p"},"payload":"psst"}`)
	if m := b.action("message"); string(m.Payload) != `"psst"` {
		t.Errorf("private: %+v", m)
	}
	a.want("ack", func(f *frame) bool { return f.Action == "ack" && f.Options.Ref == "p" })
	a.send(`{"action":"message","options":{"channel":"room","socketId":"nobody","ref":"q"},"payload":"psst"}`)
	if e := a.action("error"); !strings.Contains(string(e.Payload), "recipient_not_found") {
		t.Errorf("error: %s", e.Payload)
	}
	c.sync("c")
	if strings.Contains(strings.Join(append(a.texts(), c.texts()...), ""), "psst") {
		t.Error("a private message reached somebody else")
	}
}
