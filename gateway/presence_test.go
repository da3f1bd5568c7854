package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// view is what the stock client makes of presence frames: full replaces, join appends, leave removes.
type view struct {
	tb      testing.TB
	entries []string
	fulls   int
}

func (v *view) apply(text string) {
	v.tb.Helper()
	var f struct {
		Action  string
		Payload struct {
			Action   string
			Presence json.RawMessage
		}
	}
	type entry struct {
		SocketID string `json:"socketId"`
		Source   string `json:"source"`
	}
	if !strings.HasPrefix(text, `{"action":"presence_`) {
		return
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		v.tb.Fatalf("%v: %s", err, text)
	}
	if f.Action == "presence_full" {
		var list []entry
		if err := json.Unmarshal(f.Payload.Presence, &list); err != nil {
			v.tb.Fatalf("%v: %s", err, text)
		}
		v.entries = nil
		v.fulls++
		for _, e := range list {
			v.entries = append(v.entries, e.SocketID+e.Source)
		}
		return
	}
	var e entry
	if err := json.Unmarshal(f.Payload.Presence, &e); err != nil {
		v.tb.Fatalf("%v: %s", err, text)
	}
	name := e.SocketID + e.Source
	switch f.Payload.Action {
	case "join":
		if v.has(name) {
			v.tb.Fatalf("join of %s, which is listed", name)
		}
		v.entries = append(v.entries, name)
	case "leave":
		if !v.has(name) {
			v.tb.Fatalf("leave of %s, which is not listed", name)
		}
		for i := range v.entries {
			if v.entries[i] == name {
				v.entries = append(v.entries[:i], v.entries[i+1:]...)
				break
			}
		}
	}
}

func (v *view) has(name string) bool {
	return slices.Contains(v.entries, name)
}

// seen is the presence a client ends up with.
func (c *client) seen() *view {
	c.tb.Helper()
	v := &view{tb: c.tb}
	for _, text := range c.texts() {
		if v.fulls > 0 || strings.HasPrefix(text, `{"action":"presence_full"`) {
			v.apply(text)
		}
	}
	return v
}

// Whatever members do, everybody who watches is told each coming and going once, and ends up with who is there; also
// when presence is switched off and on meanwhile, every other seed.
func TestPresenceModel(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			on := true
			change := func(s *server) {
				on = !on
				s.change(t, with(nested("chat", 0), func(r *policy.Rule) { r.Presence = on }))
			}
			s := bubble(t, testOptions(), nested("chat", 0))
			names := []string{"chat/a", "chat/b/c", "chat/*"}
			var clients []*client
			for range 8 {
				clients = append(clients, s.pipe(t, []string{"", "user-1"}[rng.IntN(2)]))
			}
			for i := range 120 {
				at := rng.IntN(len(clients))
				name := names[rng.IntN(len(names))]
				switch rng.IntN(10) {
				case 0:
					_ = clients[at].socket.NetConn().Close()
					<-clients[at].closed
					clients[at] = s.pipe(t, "")
				case 1, 2:
					clients[at].send(`{"action":"leave","options":{"channel":"` + name + `"}}`)
				case 3:
					time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
				case 4:
					top := s.hub.find(protocol.Topic{Server: 1, Channel: "chat/a"})
					if top != nil {
						id := protocol.SessionID(fmt.Sprintf("othernod%d", rng.IntN(4)))
						action := []protocol.PresenceAction{protocol.PresenceJoin, protocol.PresenceLeave, protocol.PresenceUpdate}[rng.IntN(3)]
						entry := protocol.AppendMember(nil, protocol.Member{Session: id, Identity: &protocol.Identity{}}, "")
						top.Changed([]PresenceChange{{Action: action, Channel: "chat/a", Session: id, Entry: entry}})
					}
				default:
					clients[at].send(fmt.Sprintf(`{"action":"join","options":{"channel":"%s"},"payload":{"presence":%v}}`, name, i%2 == 0))
				}
				if rng.IntN(3) == 0 {
					synctest.Wait()
				}
				if seed%2 == 1 && rng.IntN(8) == 0 {
					change(s)
				}
			}
			if !on {
				change(s)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			for i, c := range clients {
				for _, name := range names {
					checkView(t, s, c, protocol.Channel(name), fmt.Sprintf("seed %d client %d %s", seed, i, name))
				}
			}
		})
	}
}

// checkView compares what a client was told of a channel with the members there are.
func checkView(t *testing.T, s *server, c *client, name protocol.Channel, what string) {
	t.Helper()
	v := &view{tb: t}
	watching := false
	for _, text := range c.texts() {
		if !strings.Contains(text, `"channel":"`+string(name)+`"`) {
			continue
		}
		if strings.HasPrefix(text, `{"action":"presence_full"`) {
			watching = true
		}
		if watching {
			v.apply(text)
		}
	}
	top := s.hub.find(protocol.Topic{Server: 1, Channel: name})
	if top == nil {
		return
	}
	top.mu.Lock()
	defer top.mu.Unlock()
	member := false
	for _, m := range top.members {
		if m.asked && !m.presence.Load() {
			t.Errorf("%s: a member that asked has no list", what)
		}
		member = member || m.presence.Load() && strings.Contains(strings.Join(c.texts(), ""), `"action":"join","options":{"channel":"`+string(name)+`"`) && m.session.id == c.id()
	}
	if !member || !watching {
		return
	}
	if len(v.entries) != len(top.roster.index) {
		t.Errorf("%s: %d listed, %d there", what, len(v.entries), len(top.roster.index))
	}
	for key := range top.roster.index {
		if !v.has(string(key.session) + string(key.source)) {
			t.Errorf("%s: %s is missing", what, key.session)
		}
	}
}

// id is the client's socket id, from its first join answer.
func (c *client) id() protocol.SessionID {
	for _, text := range c.texts() {
		if strings.HasPrefix(text, `{"action":"join"`) {
			_, id, _ := strings.Cut(text, `"socketId":"`)
			id, _, _ = strings.Cut(id, `"`)
			return protocol.SessionID(id)
		}
	}
	return ""
}

// A member that did not ask for presence is listed, is told nothing, and may ask later.
func TestPresenceAskedForLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		a, b := s.pipe(t, ""), s.pipe(t, "")
		a.join("room", "null")
		b.join("room", `{"presence":true}`)
		if full := b.action("presence_full"); strings.Count(string(full.Payload), "socketId") != 2 {
			t.Errorf("list: %s", full.Payload)
		}
		s.pipe(t, "").join("room", "null")
		time.Sleep(time.Second)
		if strings.Contains(strings.Join(a.texts(), ""), "presence") {
			t.Error("presence for who did not ask")
		}
		a.join("room", `{"presence":true}`)
		if full := a.action("presence_full"); strings.Count(string(full.Payload), "socketId") != 3 {
			t.Errorf("list: %s", full.Payload)
		}
		s.pipe(t, "").join("room", "null")
		a.action("presence_update")
		synctest.Wait()
		if n := len(b.seen().entries); n != 4 {
			t.Errorf("b sees %d", n)
		}
	})
}

// Others cannot tell a gateway about its own sockets.
func TestPresenceOfOwnSocketsIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		a := s.pipe(t, "")
		j := a.join("room", `{"presence":true}`)
		top := s.topic(t, "room")
		own := protocol.SessionID(j.Client.SocketID)
		top.Changed([]PresenceChange{
			{Action: protocol.PresenceLeave, Channel: "room", Session: own},
			{Action: protocol.PresenceJoin, Channel: "room", Session: "testnode-ghost", Entry: []byte(`{"socketId":"testnode-ghost"}`)},
			{Action: protocol.PresenceJoin, Channel: "room", Session: "othernod-empty"},
		})
		time.Sleep(time.Second)
		if v := a.seen(); len(v.entries) != 1 || v.entries[0] != string(own) {
			t.Errorf("entries: %v", v.entries)
		}
	})
}

// Presence data is part of the entry, for those who are there and those who come.
func TestPresenceData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		a, b := s.pipe(t, ""), s.pipe(t, "")
		b.join("room", `{"presence":true}`)
		a.join("room", "null")
		b.action("presence_update")
		a.send(`{"action":"presence_update","options":{"channel":"room"},"payload":{"data":{"x":1}}}`)
		if up := b.action("presence_update"); !strings.Contains(string(up.Payload), `"action":"update"`) || !strings.Contains(string(up.Payload), `"data":{"x":1}`) {
			t.Errorf("update: %s", up.Payload)
		}
		c := s.pipe(t, "")
		c.join("room", `{"presence":true}`)
		if full := c.action("presence_full"); !strings.Contains(string(full.Payload), `"data":{"x":1}`) {
			t.Errorf("list: %s", full.Payload)
		}
		for payload, code := range map[string]string{
			`{"data":{"x":"` + strings.Repeat("x", 4<<10) + `"}}`: "too_large", `{"data":1}`: "invalid_message", `null`: "invalid_message",
		} {
			a.send(`{"action":"presence_update","options":{"channel":"room"},"payload":` + payload + `}`)
			if e := a.action("error"); !strings.Contains(string(e.Payload), code) {
				t.Errorf("%.40s: %s", payload, e.Payload)
			}
		}
		a.send(`{"action":"presence_update","options":{"channel":"elsewhere"},"payload":{"data":{}}}`)
		if e := a.action("error"); !strings.Contains(string(e.Payload), "not_joined") {
			t.Errorf("not a member: %s", e.Payload)
		}
	})
}

// A presence view that cannot be opened is an error; the join stands, the next one tries again, and who waits gets the
// list when there is one.
func TestPresenceThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), open("room", 0))
		s.memory.presenceMu.Lock()
		s.memory.watchFails = true
		s.memory.presenceMu.Unlock()
		a := s.pipe(t, "")
		a.send(`{"action":"join","options":{"channel":"room"},"payload":{"presence":true}}`)
		a.action("join")
		if e := a.action("error"); e.Options.Channel != "room" || !strings.Contains(string(e.Payload), "unavailable") {
			t.Errorf("error: %+v", e)
		}
		s.memory.presenceMu.Lock()
		s.memory.watchFails = false
		s.memory.presenceMu.Unlock()
		a.action("presence_full")
		a.join("room", `{"presence":true}`)
		a.action("presence_full")
	})
}

// The lists of many members are one buffer, not one for each; changes make a new one, and old ones stay true.
func TestRosterSharesItsBytes(t *testing.T) {
	r := newRoster()
	for i := range 20_000 {
		r.put(rosterKey{session: protocol.SessionID(fmt.Sprint("s", i))}, fmt.Appendf(nil, `{"socketId":"s%d","extras":{},"permissions":{"dbo_id":0,"row_id":0}}`, i))
	}
	first := r.snapshot()
	want := string(bytes.Join(first, nil))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 {
		for i, part := range r.snapshot() {
			if &part[0] != &first[i][0] {
				t.Fatal("a list of its own")
			}
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("1000 lists cost %d bytes", grown)
	}
	r.put(rosterKey{session: "new"}, []byte(`{"socketId":"new"}`))
	r.remove(rosterKey{session: "s5"})
	r.put(rosterKey{session: "s6"}, []byte(`{"socketId":"s6","data":{}}`))
	second := string(bytes.Join(r.snapshot(), nil))
	if string(bytes.Join(first, nil)) != want {
		t.Error("a list handed out has changed")
	}
	var list []struct{ SocketID string }
	if err := json.Unmarshal([]byte("["+second+"]"), &list); err != nil || len(list) != 20_000 || list[5].SocketID != "s6" || list[19_999].SocketID != "new" {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

// A roster is a map in the order of joining, whatever comes and goes.
func TestRosterModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		r := newRoster()
		var order []string
		entries := map[string]string{}
		for step := range 5000 {
			name := fmt.Sprint("s", rng.IntN(1500))
			key := rosterKey{session: protocol.SessionID(name)}
			was, there := entries[name]
			if rng.IntN(100) < 30+40*int(seed%2) {
				if got := string(r.remove(key)); got != was {
					t.Fatalf("removed %q, want %q", got, was)
				}
				if there {
					delete(entries, name)
					order = slices.DeleteFunc(order, func(o string) bool { return o == name })
				}
			} else {
				entries[name] = fmt.Sprintf(`"%s.%d"`, name, step)
				if added := r.put(key, []byte(entries[name])); added == there {
					t.Fatalf("added %v, was there %v", added, there)
				}
				if !there {
					order = append(order, name)
				}
			}
			if step%97 > 0 {
				continue
			}
			var want []string
			for _, o := range order {
				want = append(want, entries[o])
			}
			if got := string(bytes.Join(r.snapshot(), nil)); got != strings.Join(want, ",") {
				t.Fatalf("seed %d step %d: %.200s", seed, step, got)
			}
			if r.slots > 2*len(order)+2*chunkEntries+1 {
				t.Fatalf("%d slots for %d entries", r.slots, len(order))
			}
		}
	}
}
