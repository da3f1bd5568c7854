package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// keep stores publications of a channel without anybody listening.
func (s *server) keep(channel protocol.Channel, n int) {
	for i := range n {
		s.memory.publish(event(channel, fmt.Sprintf("old%d", i)), true, func(protocol.Receipt, error) {})
	}
}

// The ring is a model of the channel's newest publications: whatever it claims is true.
func TestRingModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var all []*protocol.Publication
		begin := rng.IntN(20)
		for i := range begin {
			all = append(all, stored(uint64(i+1), 10))
		}
		r := ring{max: rng.IntN(30)}
		r.reset(uint64(begin))
		floor := r.floor
		for range rng.IntN(60) {
			switch rng.IntN(6) {
			case 0:
				upTo := floor
				var older []*protocol.Publication
				for _, p := range all {
					if p.Offset <= upTo {
						older = append(older, p)
					}
				}
				whole := len(older) <= r.max
				if !whole {
					older = older[len(older)-r.max:]
				}
				r.prepend(older, upTo, whole)
			default:
				p := stored(uint64(len(all)+1), 10+rng.IntN(1+ringBytes/10*rng.IntN(2)))
				all = append(all, p)
				r.push(p)
			}
			checkRing(t, &r, all)
		}
	}
}

func stored(offset uint64, bytes int) *protocol.Publication {
	return &protocol.Publication{Offset: offset, Frame: make([]byte, bytes)}
}

func checkRing(t *testing.T, r *ring, all []*protocol.Publication) {
	t.Helper()
	bytes := 0
	for _, p := range r.pubs {
		bytes += len(p.Frame)
	}
	switch {
	case len(r.pubs) > r.max:
		t.Fatalf("%d publications, at most %d", len(r.pubs), r.max)
	case bytes != r.bytes || bytes > ringBytes:
		t.Fatalf("%d bytes, counted as %d", bytes, r.bytes)
	case r.full && len(r.pubs) != len(all):
		t.Fatalf("full with %d of %d", len(r.pubs), len(all))
	}
	for from := range uint64(len(all) + 1) {
		got, ok := r.after(from)
		if ok && len(got) != len(all)-int(from) {
			t.Fatalf("after %d: %d, want %d", from, len(got), len(all)-int(from))
		}
		for i, p := range got {
			if p != all[int(from)+i] {
				t.Fatalf("after %d: hole at %d", from, p.Offset)
			}
		}
	}
}

// History is answered from the ring where it reaches, from the store where not, and says more only when there is.
func TestHistoryPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 25))
		s.keep("room", 40)
		c := s.pipe(t, "")
		c.join("room", "null")
		for _, q := range []struct {
			payload     string
			first, last int
			more        string
		}{
			{`null`, 16, 40, ""},
			{`{"limit":10}`, 31, 40, "true"},
			{`{"limit":25}`, 16, 40, "false"},
			{`{"limit":1000}`, 16, 40, "false"},
			{`{"after":"30"}`, 31, 40, "false"},
			{`{"before":"36","limit":5}`, 31, 35, "true"},
		} {
			c.send(`{"action":"history","options":{"channel":"room"},"payload":` + q.payload + `}`)
			h := string(c.action("history").Payload)
			got := offsetsOf(h)
			if len(got) == 0 || got[0] != uint64(q.first) || got[len(got)-1] != uint64(q.last) || len(got) != q.last-q.first+1 {
				t.Errorf("%s: offsets %v", q.payload, got)
			}
			if _, more, _ := strings.Cut(h, `"more":`); strings.TrimSuffix(more, "}") != q.more {
				t.Errorf("%s: more is %q, want %q", q.payload, more, q.more)
			}
		}
		c.page("room", `{"before":"0"}`, "[]", false)
	})
}

// Who joins an empty channel gets the first message live, not also in the history that is read meanwhile.
func TestHistoryOfAnEmptyChannelAtJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 25))
		s.memory.publish(event("other", "x"), true, func(protocol.Receipt, error) {})
		a := s.pipe(t, "")
		a.join("room", "null")
		top := s.topic(t, "room")
		top.mu.Lock()
		m := top.members[0]
		top.mu.Unlock()
		s.memory.publish(event("room", "first"), true, func(protocol.Receipt, error) {})
		// As a join would that began before the message.
		m.session.sendHistory(t.Context(), top, top.rule.Load(), protocol.HistoryRequest{}, 0, &hold{})
		if h := a.action("history"); string(h.Payload) != `{"history":[]}` {
			t.Errorf("history: %s", h.Payload)
		}
	})
}

// Authenticated-only publications and those for one user are in the history of whom they were for.
func TestHistoryByAudience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 25))
		for i, audience := range []protocol.Audience{{}, {Kind: protocol.Authenticated}, {Kind: protocol.User, DboID: 7, RowID: "1"}} {
			p := event("room", fmt.Sprint("to", i))
			p.Audience = audience
			s.memory.publish(p, true, func(protocol.Receipt, error) {})
		}
		for token, want := range map[string]string{"": "[1]", "user-1": "[1 2 3]", "user-2": "[1 2]"} {
			c := s.pipe(t, token)
			c.join("room", `{"history":true}`)
			if got := fmt.Sprint(offsetsOf(string(c.action("history").Payload))); got != want {
				t.Errorf("%q: %s, want %s", token, got, want)
			}
		}
	})
}

// One reading of the store serves all who join a channel at the same time.
func TestJoinsShareOneReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, testOptions(), open("room", 25))
		s.keep("room", 30)
		store := &heldHistory{memory: s.memory, open: make(chan struct{})}
		s.ports.History = store
		s.run(t)
		synctest.Wait()
		var clients []*client
		for range 20 {
			c := s.pipe(t, "")
			c.send(`{"action":"join","options":{"channel":"room"},"payload":{"history":true}}`)
			clients = append(clients, c)
		}
		synctest.Wait()
		close(store.open)
		for _, c := range clients {
			if got := offsetsOf(string(c.action("history").Payload)); len(got) != 25 {
				t.Errorf("history: %v", got)
			}
		}
		if store.reads != 1 {
			t.Errorf("%d readings", store.reads)
		}
	})
}

// So does one reading beyond the ring, also where some of it is for one user only.
func TestJoinsShareOneReadingBesideAimedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, testOptions(), open("room", 250))
		p := event("room", "for user 1")
		p.Audience = protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "1"}
		s.memory.publish(p, true, func(protocol.Receipt, error) {})
		s.keep("room", 150)
		store := &heldPages{heldHistory{memory: s.memory, open: make(chan struct{})}}
		s.ports.History = store
		s.run(t)
		synctest.Wait()
		var clients []*client
		for range 20 {
			c := s.pipe(t, "")
			c.send(`{"action":"join","options":{"channel":"room"},"payload":{"history":true}}`)
			clients = append(clients, c)
		}
		synctest.Wait()
		close(store.open)
		for _, c := range clients {
			if got := offsetsOf(string(c.action("history").Payload)); len(got) != 150 {
				t.Errorf("history: %v", got)
			}
		}
		if store.reads != 2 { // one of them for the ring
			t.Errorf("%d readings", store.reads)
		}
	})
}

// heldHistory reads when it is opened.
type heldHistory struct {
	*memory
	open chan struct{}
}

func (h *heldHistory) Read(ctx context.Context, t protocol.Topic, r Range, allow func(protocol.Channel) bool) (Page, error) {
	select {
	case <-h.open:
		return h.memory.Read(ctx, t, r, allow)
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
}

// heldPages holds pages only, not what a ring is loaded with.
type heldPages struct{ heldHistory }

func (h *heldPages) Read(ctx context.Context, t protocol.Topic, r Range, allow func(protocol.Channel) bool) (Page, error) {
	if !r.AimedApart {
		return h.memory.Read(ctx, t, r, allow)
	}
	return h.heldHistory.Read(ctx, t, r, allow)
}

// A store that does not answer is an error frame, and keeps nobody from ending.
func TestHistoryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, testOptions(), open("room", 25))
		s.keep("room", 3)
		s.ports.History = &heldHistory{memory: s.memory, open: make(chan struct{})}
		s.run(t)
		synctest.Wait()
		c := s.pipe(t, "")
		began := time.Now()
		c.join("room", `{"history":true}`)
		if e := c.action("error"); !strings.Contains(string(e.Payload), "unavailable") || time.Since(began) > joinTimeout+time.Second {
			t.Errorf("after %v: %s", time.Since(began), e.Payload)
		}
		c.send(`{"action":"history","options":{"channel":"room"},"payload":null}`)
		synctest.Wait()
		s.stop()
	})
}

// A resume gives what was missed before what is live, or says that it cannot.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name, resume string
		resumed      string
		missed       int
	}{
		{"nothing missed", `{"offset":"40"}`, "true", 0},
		{"from the ring or store", `{"offset":"30"}`, "true", 10},
		{"with the epoch", `{"offset":"30","epoch":"e"}`, "true", 10},
		{"another epoch", `{"offset":"30","epoch":"f"}`, "false", 0},
		{"from the future", `{"offset":"41"}`, "false", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t, testOptions(), open("room", 25))
				s.keep("room", 40)
				m := s.pipe(t, "")
				j := m.join("room", `{"history":false,"resume":`+c.resume+`}`)
				if string(j.Payload) != `{"resumed":`+c.resumed+`}` {
					t.Errorf("answer: %s", j.Payload)
				}
				if c.resumed == "false" {
					if got := offsetsOf(string(m.action("history").Payload)); len(got) != 25 {
						t.Errorf("history: %v", got)
					}
				}
				synctest.Wait()
				if got := len(m.events()); got != c.missed {
					t.Errorf("%d missed frames", got)
				}
			})
		})
	}
}

// A channel with a rule of its own takes no room in the history of a pattern above it, however busy it is.
func TestPatternHistoryBesideAnotherRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), nested("q", 25), open("q/loud", 100))
		s.keep("q/a", 5)
		s.keep("q/loud", 60)
		c := s.pipe(t, "")
		c.join("q/*", `{"history":true}`)
		if got := fmt.Sprint(offsetsOf(string(c.action("history").Payload))); got != "[1 2 3 4 5]" {
			t.Errorf("with the join: %s", got)
		}
		c.page("q/*", `{"limit":3}`, "[3 4 5]", true)
		c.page("q/*", `{"limit":5}`, "[1 2 3 4 5]", false)
	})
}

// What is aimed at somebody else takes no room in a page, and does not end the paging.
func TestHistoryPagesBesideAimedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 250))
		s.keep("room", 10)
		for range 20 {
			p := event("room", "for user 1")
			p.Audience = protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "1"}
			s.memory.publish(p, true, func(protocol.Receipt, error) {})
		}
		s.keep("room", 1)
		for _, token := range []string{"user-2", ""} {
			c := s.pipe(t, token)
			c.join("room", "null")
			c.page("room", `{"limit":5,"before":"31"}`, "[6 7 8 9 10]", true)
			c.page("room", `{"limit":5,"after":"10"}`, "[31]", false)
			c.page("room", `{"limit":15,"after":"0"}`, "[1 2 3 4 5 6 7 8 9 10 31]", false)
			c.page("room", `{"limit":11}`, "[1 2 3 4 5 6 7 8 9 10 31]", false)
		}
		c := s.pipe(t, "user-1")
		c.join("room", "null")
		c.page("room", `{"limit":5,"before":"31"}`, "[26 27 28 29 30]", true)
		c.page("room", `{"limit":5,"after":"10"}`, "[11 12 13 14 15]", true)
		c.page("room", `{"limit":3,"after":"28"}`, "[29 30 31]", false)
	})
}

// What is aimed at a user does not reach a pattern, neither live nor in its history.
func TestPatternHistoryWithoutAimedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), nested("chat", 250))
		s.keep("chat/a", 2)
		p := event("chat/a", "for user 1")
		p.Audience = protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "1"}
		s.memory.publish(p, true, func(protocol.Receipt, error) {})
		c := s.pipe(t, "user-1")
		c.join("chat/*", "null")
		c.page("chat/*", `{"limit":5}`, "[1 2]", false)
		c.join("chat/a", "null")
		c.page("chat/a", `{"limit":5}`, "[1 2 3]", false)
	})
}

// page asks for history and compares the offsets of the answer.
func (c *client) page(channel, payload, want string, more bool) {
	c.tb.Helper()
	c.send(`{"action":"history","options":{"channel":"` + channel + `"},"payload":` + payload + `}`)
	h := string(c.action("history").Payload)
	if got := fmt.Sprint(offsetsOf(h)); got != want || strings.HasSuffix(h, `"more":true}`) != more || strings.HasSuffix(h, `"more":false}`) == more {
		c.tb.Errorf("%s: %s, want %s more=%t; it ends with %s", payload, got, want, more, h[max(0, len(h)-20):])
	}
}

// What is over its age is in no answer, whichever way it is asked for, and a resume does not pass over it in silence.
func TestHistoryTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 25))
		s.keep("room", 3)
		c := s.pipe(t, "")
		c.join("room", `{"history":true}`)
		c.action("history")
		s.change(t, with(open("room", 25), func(r *policy.Rule) { r.HistoryTTL = 2 }))
		c.page("room", `{"after":"0"}`, "[1 2 3]", false)
		time.Sleep(4 * time.Second)
		for _, payload := range []string{`{"limit":10}`, `{"after":"0"}`, `{"before":"4"}`, `{"before":"3","limit":1}`, `{"since":0}`} {
			c.page("room", payload, "[]", false)
		}
		resume := func(offset string, whole bool, missed int) {
			t.Helper()
			m := s.pipe(t, "")
			j := m.join("room", `{"resume":{"epoch":"e","offset":"`+offset+`"}}`)
			synctest.Wait()
			if string(j.Payload) != fmt.Sprintf(`{"resumed":%t}`, whole) || len(m.events()) != missed {
				t.Errorf("from %s: %s and %d missed frames", offset, j.Payload, len(m.events()))
			}
		}
		resume("1", false, 0)
		resume("3", false, 0) // what was behind it may have gone sooner
		s.keep("room", 2)
		resume("3", false, 0)
		resume("4", true, 1)
		resume("5", true, 0)
		c.page("room", `{"after":"0"}`, "[4 5]", false)
		time.Sleep(3 * time.Second)
		resume("4", false, 0)
		resume("5", true, 0) // it came live, and nothing after it
	})
}
