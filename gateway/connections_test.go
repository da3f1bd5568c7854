package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

func names(list []Connection) (out []protocol.SessionID) {
	for i := range list {
		out = append(out, list[i].Session)
	}
	return out
}

func TestConnectionsTellHowASocketStands(t *testing.T) {
	s := serve(t, testOptions(), nested("chat", 25), open("live", 0))
	before := time.Now().Add(-time.Millisecond)
	ada, guest := s.dial(t, "user-3"), s.dial(t, "")
	ja, jg := ada.join("chat/1", `{"presence":true}`), guest.join("chat/1", "null")
	for i := range 3 {
		guest.send(fmt.Sprintf(`{"action":"message","options":{"channel":"chat/1"},"payload":%d}`, i))
		ada.action("message")
	}
	late := ada.join("chat/2", "null")
	_ = late
	ada.join("live", "null")
	ada.send(`{"action":"leave","options":{"channel":"live"}}`)
	ada.sync("left")

	var got Connection
	eventually(t, "offset 3", func() bool {
		list, more := s.Connections(ConnectionsQuery{Server: 1, User: true, DboID: 7, RowID: "3", Limit: 10})
		if len(list) != 1 || more {
			t.Fatalf("%d connections, more %v", len(list), more)
		}
		got = list[0]
		return len(got.Channels) > 0 && got.Channels[0].Offset == 3
	})
	if got.Session != protocol.SessionID(ja.Client.SocketID) || got.State != "open" || !got.Authenticated || got.Permissions.RowID != "3" ||
		got.Connected.Before(before.Truncate(time.Millisecond)) || got.Heard == nil || got.BacklogBytes != 0 || got.ChannelsTotal != 2 || got.Closed != nil {
		t.Errorf("%+v", got)
	}
	if m := got.Channels[0]; m.Channel != "chat/1" || m.JoinedOffset != 0 || !m.Stored || !m.Presence || m.CatchingUp || m.Joined.Before(got.Connected) {
		t.Errorf("%+v", m)
	}
	if len(got.Left) != 1 || got.Left[0].Channel != "live" || got.Left[0].Why != "left" || got.Left[0].Left == nil || got.Left[0].Stored {
		t.Errorf("left: %+v", got.Left)
	}
	ask := func(q ConnectionsQuery) []protocol.SessionID {
		q.Server, q.Limit = max(q.Server, 1), max(q.Limit, 10)
		list, _ := s.Connections(q)
		return names(list)
	}
	both := []protocol.SessionID{protocol.SessionID(ja.Client.SocketID), protocol.SessionID(jg.Client.SocketID)}
	slices.Sort(both)
	for name, tt := range map[string]struct {
		q    ConnectionsQuery
		want []protocol.SessionID
	}{
		"all":                  {ConnectionsQuery{}, both},
		"one socket":           {ConnectionsQuery{Session: both[1]}, both[1:]},
		"on a channel":         {ConnectionsQuery{Channel: "chat/1"}, both},
		"was on a channel":     {ConnectionsQuery{Channel: "live"}, []protocol.SessionID{got.Session}},
		"another server":       {ConnectionsQuery{Server: 2}, nil},
		"nobody by that name":  {ConnectionsQuery{User: true, DboID: 7, RowID: "4"}, nil},
		"anonymous is no user": {ConnectionsQuery{User: true}, nil},
		"behind the first":     {ConnectionsQuery{After: both[0]}, both[1:]},
	} {
		if got := ask(tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	list, more := s.Connections(ConnectionsQuery{Server: 1, Limit: 1})
	if len(list) != 1 || !more || list[0].Session != both[0] {
		t.Errorf("a page of one: %v, more %v", names(list), more)
	}
}

func TestConnectionsRememberWhoHasGone(t *testing.T) {
	o := testOptions()
	o.WriteTimeout = 30 * time.Second
	s := serve(t, o, open("room", 25), open("members", 0))
	one := func(id string) Connection {
		list, _ := s.Connections(ConnectionsQuery{Server: 1, Session: protocol.SessionID(id), Limit: 1})
		if len(list) != 1 {
			t.Fatalf("%s: %d connections", id, len(list))
		}
		return list[0]
	}
	c := s.dial(t, "user-5")
	id := c.join("room", "null").Client.SocketID
	c.send(`{"action":"message","options":{"channel":"room"},"payload":1}`)
	c.action("message")
	eventually(t, "offset", func() bool { return one(id).Channels[0].Offset == 1 })
	if err := c.socket.WriteClose(1001, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "session gone", func() bool { return len(s.Sessions(nil)) == 0 })
	got := one(id)
	if got.State != "closed" || got.Code != 1001 || got.Reason != "client" || got.Closed == nil || got.Closed.Before(got.Connected) ||
		!got.Authenticated || got.Permissions.RowID != "5" || len(got.Channels) != 1 || got.Channels[0].Offset != 1 || got.ChannelsTotal != 1 {
		t.Errorf("%+v", got)
	}

	kicked := s.dial(t, "user-6")
	id = kicked.join("room", "null").Client.SocketID
	s.Disconnect(1, "", 7, "6")
	<-kicked.closed
	eventually(t, "closed", func() bool { return one(id).State == "closed" })
	if got := one(id); got.Code != 4401 || got.Reason != "disconnected" {
		t.Errorf("%+v", got)
	}

	slow := s.socket(t)
	slow.write(t, masked(opText, joinFrame("room")))
	slow.frame(t)
	member := s.Sessions(nil)[0]
	top, big := s.topic(t, "room"), strings.Repeat("x", 32<<10)
	for i := range 4000 {
		if member.conn.evictReason() == evictBacklog {
			break
		}
		top.Deliver(event("room", fmt.Sprintf("%d.%s", i, big)))
		eventually(t, "written", func() bool { top.mu.Lock(); defer top.mu.Unlock(); return !top.writing && top.batch.empty() })
	}
	if code := slow.closed(); code != 1013 {
		t.Errorf("the slow reader saw close code %d", code)
	}
	_ = slow.Close()
	eventually(t, "closed", func() bool { return one(string(member.id)).State == "closed" })
	if got := one(string(member.id)); got.Reason != "slow_backlog" || got.Code != 1013 {
		t.Errorf("%+v", got)
	}

	removed := s.dial(t, "")
	id = removed.join("room", "null").Client.SocketID
	old, now := s.book.Current(), bookOf(t, 2, open("elsewhere", 0))
	s.book.mu.Lock()
	s.book.book = now
	s.book.mu.Unlock()
	s.Reapply(old, now)
	removed.action("error")
	eventually(t, "removed", func() bool { return len(one(id).Left) == 1 })
	if got := one(id); got.Left[0].Why != string(protocol.CodeRemoved) || len(got.Channels) != 0 {
		t.Errorf("%+v", got)
	}
}

// What is remembered is bounded, and a storm of clients that go does not push out those that were sent away.
func TestRecentIsBounded(t *testing.T) {
	var r recent
	r.add(&past{session: "evicted", server: 1, reason: reasonBacklog})
	for i := range 3 * recentEach {
		r.add(&past{session: protocol.SessionID(fmt.Sprintf("gone%06d", i)), server: 1, reason: reasonLost})
	}
	found := r.find(&ConnectionsQuery{Server: 1})
	if len(found) != recentEach+1 || found[0].session != "evicted" || found[1].session != protocol.SessionID(fmt.Sprintf("gone%06d", 2*recentEach)) {
		t.Errorf("%d remembered, first %s, then %s", len(found), found[0].session, found[1].session)
	}
	for i := range recentEach {
		r.add(&past{session: protocol.SessionID(fmt.Sprintf("slow%06d", i)), server: 1, reason: reasonWriteTimeout})
	}
	if found = r.find(&ConnectionsQuery{Server: 1}); len(found) != 2*recentEach || found[0].session == "evicted" {
		t.Errorf("%d remembered, first %s", len(found), found[0].session)
	}

	s := &Session{}
	for i := range 3 * maxLeft {
		s.noteLeft(Membership{Channel: protocol.Channel(fmt.Sprint(i)), Joined: time.Now()}, "left")
	}
	s.noteLeft(Membership{}, "left") // it was no member
	if len(s.left) != maxLeft || s.left[0].Channel != protocol.Channel(fmt.Sprint(2*maxLeft)) {
		t.Errorf("%d channels left are remembered, first %s", len(s.left), s.left[0].Channel)
	}
	p := &past{}
	for i := range 3 * maxPast {
		p.was(Membership{Channel: protocol.Channel(fmt.Sprint(i)), Joined: time.Now()})
	}
	if len(p.channels) != maxPast {
		t.Errorf("%d channels of an ended socket are remembered", len(p.channels))
	}
}

func TestTracesFollowAMessage(t *testing.T) {
	s := serve(t, testOptions(), open("room", 25))
	key := protocol.Topic{Server: 1, Channel: "room"}
	if s.Traces(key, 0) != nil || s.taps.Load() != 0 {
		t.Error("a tap on a channel that nobody is on")
	}
	c := s.dial(t, "")
	c.join("room", "null")
	if got := s.Traces(key, 0); len(got) != 0 || s.taps.Load() != 1 {
		t.Errorf("%d traces, %d taps", len(got), s.taps.Load())
	}
	for i := range 3 {
		c.send(fmt.Sprintf(`{"action":"message","options":{"channel":"room"},"payload":%d}`, i))
		c.action("message")
	}
	var got []Trace
	eventually(t, "three traces", func() bool { got = s.Traces(key, 0); return len(got) == 3 && got[2].Stored != nil })
	for i := range got {
		tr := &got[i]
		if tr.Number != uint64(i+1) || tr.Offset != uint64(i+1) || tr.Channel != "room" || tr.ID == "" || tr.Written == nil || tr.Batch != 1 ||
			tr.Accepted.After(tr.Arrived) || tr.Arrived.After(*tr.Flushed) || tr.Flushed.After(*tr.Written) || tr.Stored.Before(tr.Accepted) {
			t.Errorf("%+v", tr)
		}
	}
	if got = s.Traces(key, 2); len(got) != 1 || got[0].Number != 3 {
		t.Errorf("behind the second: %+v", got)
	}
	top := s.topic(t, "room")
	for i := range 3 * tapTraces {
		top.Deliver(event("room", fmt.Sprint(i)))
	}
	eventually(t, "the last one", func() bool {
		got = s.Traces(key, 3)
		return len(got) > 0 && got[len(got)-1].ID == fmt.Sprint(3*tapTraces-1)
	})
	if len(got) > tapTraces || got[len(got)-1].Number != 3+3*tapTraces {
		t.Errorf("%d traces, the last is number %d", len(got), got[len(got)-1].Number)
	}
	top.mu.Lock()
	for i := range 3 * tapStores {
		top.tap.stored(time.Now(), uint64(i))
	}
	if len(top.tap.stores) > tapStores {
		t.Errorf("%d acknowledgements are kept", len(top.tap.stores))
	}
	top.mu.Unlock()
}

// A tap ends when nobody asks any more, and there are only so many.
func TestTapsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := []policy.Rule{nested("chat", 0)}
		s := bubble(t, testOptions(), rules...)
		defer s.stop()
		c := s.pipe(t, "")
		for i := range maxTaps + 1 {
			c.join(fmt.Sprintf("chat/%d", i), "null")
		}
		for i := range maxTaps + 1 {
			s.Traces(protocol.Topic{Server: 1, Channel: protocol.Channel(fmt.Sprintf("chat/%d", i))}, 0)
		}
		if n := s.taps.Load(); n != maxTaps {
			t.Errorf("%d taps", n)
		}
		time.Sleep(2 * tapFor)
		synctest.Wait()
		if n := s.taps.Load(); n != 0 {
			t.Errorf("%d taps although nobody looks", n)
		}
	})
}

// Who asks for what is behind the last trace is never told about that one again, so it must not lack when it was stored.
func TestTraceWaitsForItsAcknowledgement(t *testing.T) {
	var p tap
	p.first = 1
	now := time.Now()
	p.arrived(now, &protocol.Publication{ID: "a", Offset: 7, Origin: "here"}, 1)
	p.written(1, now, now)
	count := func(at time.Time, own protocol.NodeID) int { return len(p.behind(at, own, 0, 2, false)) }
	if n := count(now, "here"); n != 0 {
		t.Errorf("%d traces before the acknowledgement", n)
	}
	if n := count(now, "elsewhere"); n != 1 {
		t.Errorf("%d traces where another gateway was answered", n)
	}
	if n := count(now.Add(tapAck), "here"); n != 1 {
		t.Errorf("%d traces when none came", n)
	}
	p.stored(now, 7)
	if got := p.behind(now, "here", 0, 2, false); len(got) != 1 || got[0].Stored == nil {
		t.Errorf("acknowledged: %+v", got)
	}
}
