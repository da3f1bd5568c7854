package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// change puts rules in force, as the settings store does.
func (s *server) change(tb testing.TB, rules ...policy.Rule) {
	tb.Helper()
	s.changeServer(tb, func(*policy.Server) {}, rules...)
}

func (s *server) changeServer(tb testing.TB, edit func(*policy.Server), rules ...policy.Rule) {
	tb.Helper()
	old := s.book.Current()
	for i := range rules {
		if rules[i].ID == 0 {
			rules[i].ID = int64(i + 1)
		}
		rules[i].Enabled = true
	}
	form := policy.Server{ID: 1, Name: "test", Enabled: true, Hash: "hash", Channels: rules}
	edit(&form)
	compiled, err := policy.Compile(form, policy.Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	now, err := policy.NewBook(old.Revision+1, []*policy.Server{compiled})
	if err != nil {
		tb.Fatal(err)
	}
	s.book.mu.Lock()
	s.book.book = now
	s.book.mu.Unlock()
	s.Reapply(old, now)
}

func with(r policy.Rule, edit func(*policy.Rule)) policy.Rule {
	edit(&r)
	return r
}

// What a change of settings does to a member, and to what it tries afterwards.
func TestReapply(t *testing.T) {
	base := open("room", 25)
	for _, c := range []struct {
		name  string
		token string
		rules []policy.Rule
		edit  func(*policy.Server)
		code  string // of the error the member gets; empty = it stays
		close uint16
	}{
		{name: "nothing", rules: []policy.Rule{base}},
		{name: "description", rules: []policy.Rule{with(base, func(r *policy.Rule) { r.Description = "new" })}},
		{name: "rule deleted", code: "removed"},
		{name: "rule of another name", rules: []policy.Rule{open("other", 0)}, code: "removed"},
		{name: "anonymous not allowed", rules: []policy.Rule{with(base, func(r *policy.Rule) { r.AnonymousClients = false })}, code: "anonymous_not_allowed"},
		{name: "anonymous not allowed, authenticated", token: "user-1", rules: []policy.Rule{with(base, func(r *policy.Rule) { r.AnonymousClients = false })}},
		{name: "realtime disabled", rules: []policy.Rule{base}, edit: func(s *policy.Server) { s.Enabled = false }, close: 4401},
		{name: "new hash", rules: []policy.Rule{base}, edit: func(s *policy.Server) { s.Hash = "other" }, close: 4401},
		{name: "server gone", rules: []policy.Rule{base}, edit: func(s *policy.Server) { s.ID = 2 }, close: 4401},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t, testOptions(), open("room", 25))
				m := s.pipe(t, c.token)
				m.join("room", `{"history":false,"presence":true}`)
				edit := c.edit
				if edit == nil {
					edit = func(*policy.Server) {}
				}
				s.changeServer(t, edit, c.rules...)
				if c.close != 0 {
					<-m.closed
					if m.code != c.close {
						t.Errorf("closed with %d", m.code)
					}
					return
				}
				if c.code != "" {
					e := m.action("error")
					if e.Options.Channel != "room" || !strings.Contains(string(e.Payload), `"`+c.code+`"`) {
						t.Errorf("error: %+v", e)
					}
				}
				m.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`)
				answer := m.want("answer", func(f *frame) bool { return f.Options.Ref == "r" })
				if (answer.Action == "ack") != (c.code == "") {
					t.Errorf("message afterwards: %+v", answer)
				}
				if n := len(s.memory.members()); (n == 1) != (c.code == "") {
					t.Errorf("%d members", n)
				}
			})
		})
	}
}

// A permission that is taken is taken from the next frame, also where membership does not depend on it.
func TestReapplyOfMessaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		m := s.pipe(t, "")
		m.join("room", "null")
		s.change(t, with(open("room", 0), func(r *policy.Rule) { r.ClientPublicMessaging, r.ClientAuthenticatedMessaging = false, false }))
		m.send(`{"action":"message","options":{"channel":"room"},"payload":1}`)
		if e := m.action("error"); !strings.Contains(string(e.Payload), "public_messaging_disabled") {
			t.Errorf("error: %s", e.Payload)
		}
	})
}

// Presence that is switched on makes the members known, to those who asked for it too; switched off, nobody is listed
// any more.
func TestReapplyOfPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := with(open("room", 0), func(r *policy.Rule) { r.Presence = false })
		s := bubble(t, testOptions(), off)
		m := s.pipe(t, "")
		m.join("room", `{"history":false,"presence":true}`)
		if n := len(s.memory.members()); n != 0 {
			t.Fatalf("%d members without presence", n)
		}
		s.change(t, open("room", 0))
		if n := len(s.memory.members()); n != 1 {
			t.Errorf("%d members once it is on", n)
		}
		if full := m.action("presence_full"); strings.Count(string(full.Payload), "socketId") != 1 {
			t.Errorf("list once it is on: %s", full.Payload)
		}
		m.send(joinFrame("room")) // without the flag
		m.join("room", `{"history":false,"presence":true}`)
		if full := m.action("presence_full"); strings.Count(string(full.Payload), "socketId") != 1 {
			t.Errorf("list: %s", full.Payload)
		}
		s.change(t, off)
		if n := len(s.memory.members()); n != 0 {
			t.Errorf("%d members once it is off", n)
		}
		s.pipe(t, "").join("room", "null")
		synctest.Wait()
		if strings.Contains(strings.Join(m.texts(), ""), "presence_update") {
			t.Error("an update although presence is off")
		}
		m.send(`{"action":"presence_update","options":{"channel":"room"},"payload":{"data":{}}}`)
		if e := m.action("error"); !strings.Contains(string(e.Payload), "presence_disabled") {
			t.Errorf("error: %s", e.Payload)
		}
	})
}

// Whoever asked for presence, while it was on or off, has a true list once it is on again.
func TestReapplyOfPresenceAgain(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			on := nested("chat", 0)
			off := with(on, func(r *policy.Rule) { r.Presence = false })
			s := bubble(t, testOptions(), on)
			const asks = `{"history":false,"presence":true}`
			a, b, silent, p := s.pipe(t, ""), s.pipe(t, ""), s.pipe(t, ""), s.pipe(t, "")
			a.join("chat/a", asks)
			b.join("chat/a", asks)
			silent.join("chat/a", "null")
			p.join("chat/*", asks)
			synctest.Wait()
			s.change(t, off)
			b.send(`{"action":"leave","options":{"channel":"chat/a"}}`)
			late := s.pipe(t, "")
			late.join("chat/a", asks)
			a.send(`{"action":"message","options":{"channel":"chat/a"},"payload":"before"}`)
			synctest.Wait()
			s.memory.presenceMu.Lock()
			s.memory.watchFails = fails
			s.memory.presenceMu.Unlock()
			s.change(t, on)
			synctest.Wait()
			if v := a.seen(); !fails && v.fulls != 2 {
				t.Errorf("%d lists at once", v.fulls)
			}
			s.memory.presenceMu.Lock()
			s.memory.watchFails = false
			s.memory.presenceMu.Unlock()
			time.Sleep(topicIdle) // what failed is tried again
			c := s.pipe(t, "")
			c.join("chat/a", asks)
			c.send(`{"action":"presence_update","options":{"channel":"chat/a"},"payload":{"data":{"here":1}}}`)
			time.Sleep(time.Second)
			synctest.Wait()
			for name, x := range map[string]*client{"a": a, "late": late, "pattern": p} {
				if v := x.seen(); len(v.entries) != 4 { // a, the silent one, the late one and c
					t.Errorf("%s sees %v", name, v.entries)
				}
				if n := strings.Count(strings.Join(x.texts(), ""), `"here":1`); n != 1 {
					t.Errorf("%s: %d updates", name, n)
				}
			}
			if got := strings.Join(silent.texts(), ""); strings.Contains(got, "presence_") {
				t.Errorf("presence for who did not ask: %s", got)
			}
			if v := a.seen(); v.fulls != 2 {
				t.Errorf("%d lists", v.fulls)
			}
		})
	}
}

// A channel that gets a rule of its own leaves the list of the pattern it was under, and comes back when that
// rule goes.
func TestReapplyMovesChannelsBetweenPatterns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := nested("chat", 0)
		below.ID = 1
		own := open("chat/a", 0)
		own.ID = 2
		s := bubble(t, testOptions(), below)
		p, a := s.pipe(t, ""), s.pipe(t, "")
		p.join("chat/*", `{"history":false,"presence":true}`)
		a.join("chat/a", "null")
		want := func(action string) {
			t.Helper()
			if up := p.action("presence_update"); !strings.Contains(string(up.Payload), `"action":"`+action+`"`) || up.Options.Source != "chat/a" {
				t.Errorf("update: %+v", up)
			}
		}
		want("join")
		s.change(t, below, own)
		want("leave")
		s.change(t, below)
		want("join")
		if n := len(s.memory.members()); n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

// fickle is a feed whose switching can be made to fail.
type fickle struct {
	*memory
	fails    bool
	switched []bool
}

type fickleFeed struct {
	Feed
	f    *fickle
	sink Sink
	t    protocol.Topic
}

func (f *fickle) Attach(ctx context.Context, t protocol.Topic, stored bool, sink Sink) (Feed, error) {
	feed, err := f.memory.Attach(ctx, t, stored, sink)
	return fickleFeed{feed, f, sink, t}, err
}

func (f fickleFeed) SetStored(_ context.Context, stored bool) error {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	if f.f.fails {
		return errors.New("no broker")
	}
	f.f.switched = append(f.f.switched, stored)
	if stored {
		f.sink.Reset(protocol.Position{Epoch: "e", Offset: f.f.lastLocked(f.t)})
	}
	return nil
}

// History that is switched on while the broker cannot be reached is followed later; until then the channel does
// not pretend to have any.
func TestReapplyOfHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, testOptions(), open("room", 0))
		broker := &fickle{memory: s.memory, fails: true}
		s.ports.Broker = broker
		s.run(t)
		synctest.Wait()
		m := s.pipe(t, "")
		m.join("room", "null")
		s.change(t, open("room", 25))
		if j := s.pipe(t, "").join("room", "null"); j.Options.Offset != "" {
			t.Errorf("an offset that nobody follows: %+v", j.Options)
		}
		broker.mu.Lock()
		broker.fails = false
		broker.mu.Unlock()
		time.Sleep(topicIdle)
		m.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":"kept"}`)
		m.want("ack", func(f *frame) bool { return f.Action == "ack" && strings.Contains(string(f.Payload), `"offset":"1"`) })
		c := s.pipe(t, "")
		if j := c.join("room", `{"history":true}`); j.Options.Offset != "1" || j.Options.Epoch != "e" {
			t.Errorf("join answer: %+v", j.Options)
		}
		if h := c.action("history"); strings.Count(string(h.Payload), `"kept"`) != 1 {
			t.Errorf("history: %s", h.Payload)
		}
		s.change(t, open("room", 100))
		if j := c.join("room", `{"history":true}`); j.Options.Offset != "1" {
			t.Errorf("join answer: %+v", j.Options)
		}
		if h := c.action("history"); strings.Count(string(h.Payload), `"kept"`) != 1 {
			t.Errorf("history after the number changed: %s", h.Payload)
		}
		s.change(t, open("room", 0))
		synctest.Wait()
		if j := c.join("room", `{"history":true}`); j.Options.Offset != "" {
			t.Errorf("join answer: %+v", j.Options)
		}
		if h := c.action("history"); string(h.Payload) != `{"history":[]}` {
			t.Errorf("history: %s", h.Payload)
		}
		if got := fmt.Sprint(broker.switched); got != "[true false]" {
			t.Errorf("switched: %s", got)
		}
	})
}
