package gateway

import (
	"fmt"
	"testing"
	"time"

	"fanfare/protocol"
)

// room is a topic with so many members whose frames go nowhere.
func room(tb testing.TB, members int, interval time.Duration) (*server, *topic, []*Session) {
	tb.Helper()
	o := testOptions()
	o.FlushInterval, o.Limits.FramesPerSecond = interval, 0
	rule := open("room", 0)
	rule.Presence = false
	s := newServer(tb, o, rule)
	s.run(tb)
	eventually(tb, "ready", s.Ready)
	var sessions []*Session
	for range members {
		session := s.attach(&sink{}, nobody)
		session.process(message([]byte(joinFrame("room"))))
		sessions = append(sessions, session)
	}
	tb.Cleanup(func() {
		for _, session := range sessions {
			for _, m := range session.subs {
				m.leave(false)
			}
		}
	})
	return s, s.topic(tb, "room"), sessions
}

// flushed waits until everything delivered is written.
func (t *topic) flushed() {
	t.mu.Lock()
	for t.flushing {
		t.quiet.Wait()
	}
	t.mu.Unlock()
}

// A delivery allocates nothing for each member. A few allocations come from the histograms, which make a new bucket
// for a latency they have not seen yet.
func TestDeliveryAllocatesNothingPerMember(t *testing.T) {
	for _, members := range []int{1, 64} {
		_, top, _ := room(t, members, 0)
		p := event("room", "payload")
		if got := testing.AllocsPerRun(200, func() { p.Accepted = time.Now(); top.Deliver(p) }); got > 10 {
			t.Errorf("%d members: %v allocations", members, got)
		}
	}
	_, top, _ := room(t, 1000, 0)
	p := event("room", "payload")
	got := testing.AllocsPerRun(200, func() {
		p.Accepted = time.Now() // a latency that wanders makes new buckets in the histograms
		top.mu.Lock()
		top.appendLocked(time.Now(), p)
		top.flushing = true
		top.mu.Unlock()
		top.flush(true)
	})
	if got > 10 {
		t.Errorf("a flush to 1000 members: %v allocations", got)
	}
}

// A message costs a fixed small number of allocations from its bytes to its members.
func TestMessageAllocations(t *testing.T) {
	_, _, sessions := room(t, 50, 0)
	text := []byte(`{"action":"message","options":{"channel":"room"},"payload":{"text":"hello","n":1}}`)
	got := testing.AllocsPerRun(200, func() { sessions[0].process(message(text)) })
	if got > 16 {
		t.Errorf("%v allocations", got)
	}
	t.Logf("%v allocations", got)
}

func BenchmarkDeliver(b *testing.B) {
	for _, members := range []int{1, 10, 1000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			_, top, _ := room(b, members, 0)
			p := event("room", "payload")
			b.ReportAllocs()
			for b.Loop() {
				top.Deliver(p)
				top.flushed()
			}
			b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkDeliverMixed has frames for one user among those for everybody.
func BenchmarkDeliverMixed(b *testing.B) {
	_, top, _ := room(b, 1000, 0)
	all, one := event("room", "payload"), event("room", "payload")
	one.Audience = protocol.Audience{Kind: protocol.User, DboID: 7, RowID: "1"}
	b.ReportAllocs()
	for b.Loop() {
		for range 5 {
			top.Deliver(all)
			top.Deliver(one)
		}
		top.flushed()
	}
}

func BenchmarkJoin(b *testing.B) {
	s, _, _ := room(b, 100, time.Millisecond)
	session := s.attach(&sink{}, nobody)
	join, leave := []byte(joinFrame("room")), []byte(`{"action":"leave","options":{"channel":"room"}}`)
	b.ReportAllocs()
	for b.Loop() {
		session.process(message(join))
		session.process(message(leave))
	}
}

func BenchmarkMessage(b *testing.B) {
	for _, members := range []int{1, 50} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			_, top, sessions := room(b, members, 0)
			text := []byte(`{"action":"message","options":{"channel":"room"},"payload":{"text":"hello","n":1}}`)
			b.ReportAllocs()
			for b.Loop() {
				sessions[0].process(message(text))
			}
			top.flushed()
		})
	}
}

// BenchmarkPresenceChurn is a member that comes and goes in a list of many, with a watcher that joins each time: the
// list is encoded anew.
func BenchmarkPresenceChurn(b *testing.B) {
	for _, members := range []int{100, 20_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			s := newServer(b, testOptions(), open("room", 0))
			s.run(b)
			eventually(b, "ready", s.Ready)
			watch := []byte(`{"action":"join","options":{"channel":"room"},"payload":{"presence":true}}`)
			leave := []byte(`{"action":"leave","options":{"channel":"room"}}`)
			first := s.attach(&sink{}, nobody)
			first.process(message(watch))
			crowd(s.topic(b, "room"), members)
			session := s.attach(&sink{}, nobody)
			session.gw.opts.Limits.FramesPerSecond = 0
			b.ReportAllocs()
			for b.Loop() {
				session.conn.awaitRoom() // as its reader would
				session.process(message(watch))
				session.process(message(leave))
			}
			b.StopTimer()
			for _, m := range first.subs {
				m.leave(false)
			}
		})
	}
}
