package client_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"fanfare/client"
	"fanfare/protocol"
)

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, at(5))
		p.send(message("room", "a", 6), message("room", "live only", 0), message("room", "b", 8))
		wantMessages(t, ch, "a", "live only", "b")

		go p.close(websocket.StatusServiceRestart)
		if e := kind[*client.Disconnected](t, ch); websocket.CloseStatus(e.Err) != websocket.StatusServiceRestart {
			t.Error(e.Err)
		}
		p = s.accept()
		p.want(joinRoomFrom(8))
		// The server's answer names the end of the channel; b comes twice, as after an unlucky cut.
		p.send(joined("room", at(11), protocol.ResumedWhole), message("room", "b", 8), message("room", "c", 10), message("room", "d", 11), message("room", "e", 12))
		if e := kind[*client.Joined](t, ch); e.First || !e.Resumed {
			t.Errorf("%+v", e)
		}
		wantMessages(t, ch, "c", "d", "e")

		// Cut in the middle of what was missed: resume from there, not from the end of the channel.
		go p.close(websocket.StatusTryAgainLater)
		kind[*client.Disconnected](t, ch)
		p = s.accept()
		p.want(joinRoomFrom(12))
		p.send(joined("room", at(20), protocol.ResumedWhole), message("room", "f", 13))
		kind[*client.Joined](t, ch)
		wantMessages(t, ch, "f")
		go p.close(websocket.StatusInternalError)
		kind[*client.Disconnected](t, ch)
		p = s.accept()
		p.want(joinRoomFrom(13))

		// What cannot be proved whole is told.
		history := &protocol.Publication{Channel: "room", Offset: 30}
		history.Frame, history.Splice = protocol.AppendMessage(nil, "room", protocol.Audience{}, "id-z", me, []byte(`"z"`))
		p.send(joined("room", &protocol.Position{Epoch: "e2", Offset: 30}, protocol.ResumedNot),
			string(protocol.AppendHistory(nil, "room", []*protocol.Publication{history}, protocol.HistoryUnpaged)), message("room", "next", 31))
		if e := kind[*client.Gap](t, ch); e.Reason != client.GapNotResumed {
			// The order is Gap, Joined: the gap stands where the messages are missing.
			t.Error(e.Reason)
		}
		if e := kind[*client.Joined](t, ch); e.Resumed {
			t.Errorf("%+v", e)
		}
		if h := kind[*client.History](t, ch); len(h.Messages) != 1 || h.Messages[0].ID != "id-z" {
			t.Errorf("%+v", h)
		}
		wantMessages(t, ch, "next")
		if want := (client.Position{Epoch: "e2", Offset: 31}); ch.Position() != want {
			t.Errorf("position %v", ch.Position())
		}
		wantNothing(t, ch)
	})
}

func TestResumeFromKeptPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{From: at(3)})
		if ch.Position() != *at(3) {
			t.Errorf("position %v", ch.Position())
		}
		go func() {
			p.want(joinRoomFrom(3))
			p.send(joined("room", at(4), protocol.ResumedWhole), message("room", "x", 4))
		}()
		if err := ch.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e := kind[*client.Joined](t, ch); !e.First || !e.Resumed {
			t.Errorf("%+v", e)
		}
		wantMessages(t, ch, "x")
		ch.Leave()
		p.want(leaveRoom)

		ch = c.Channel("room", client.ChannelOptions{From: at(3)})
		go func() {
			p.want(joinRoomFrom(3))
			p.send(joined("room", nil, protocol.ResumedNot))
		}()
		if err := ch.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		kind[*client.Gap](t, ch)
		if e := kind[*client.Joined](t, ch); !e.First || e.Resumed {
			t.Errorf("%+v", e)
		}
	})
}

func TestReconnectWithoutHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, nil)
		pattern := c.Channel("chat/*", client.ChannelOptions{})
		const joinPattern = `{"action":"join","options":{"channel":"chat/*"},"payload":{"history":false,"presence":false}}`
		go func() {
			p.want(joinPattern)
			p.send(joined("chat/*", nil, protocol.ResumeNotAsked))
		}()
		if err := pattern.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		kind[*client.Joined](t, pattern)
		b, splice := protocol.AppendMessage(nil, "chat/a", protocol.Audience{}, "id", me, []byte(`1`))
		p.send(string(protocol.AppendForPattern(nil, &protocol.Publication{Kind: protocol.KindMessage, Frame: b, Splice: splice, Offset: 9}, "chat/*")))
		if m := kind[*client.Message](t, pattern); m.Channel != "chat/a" || m.Offset != 9 {
			t.Errorf("%+v", m)
		}
		_ = p.ws.CloseNow()
		p = s.accept()
		p.want(joinRoom, joinPattern)
		p.send(joined("chat/*", nil, protocol.ResumeNotAsked), joined("room", nil, protocol.ResumeNotAsked))
		for _, ch := range []*client.Channel{ch, pattern} {
			kind[*client.Disconnected](t, ch)
			if e := kind[*client.Gap](t, ch); e.Reason != client.GapReconnected {
				t.Error(e.Reason)
			}
			kind[*client.Joined](t, ch)
		}
	})
}

func TestServerGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, at(1))
		gap := &protocol.Error{Code: protocol.CodeGap, Message: "lost"}
		p.send(message("room", "a", 2), failure("room", "", gap), message("room", "c", 4))
		p.want(leaveRoom, joinRoomFrom(2))
		p.send(message("room", "d", 5), joined("room", at(5), protocol.ResumedWhole), message("room", "b", 3), message("room", "c", 4), message("room", "d", 5))
		wantMessages(t, ch, "a", "b", "c", "d")

		p.send(failure("room", "", gap))
		p.want(leaveRoom, joinRoomFrom(5))
		p.send(joined("room", at(9), protocol.ResumedNot), message("room", "j", 10))
		if e := kind[*client.Gap](t, ch); e.Reason != client.GapNotResumed {
			t.Error(e.Reason)
		}
		wantMessages(t, ch, "j")

		// Without history there is nothing to repair.
		other := c.Channel("other", client.ChannelOptions{})
		go func() {
			p.read()
			p.send(joined("other", nil, protocol.ResumeNotAsked))
		}()
		if err := other.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		kind[*client.Joined](t, other)
		p.send(failure("other", "", gap), message("other", "x", 0))
		if e := kind[*client.Gap](t, other); e.Reason != client.GapServer {
			t.Error(e.Reason)
		}
		wantMessages(t, other, "x")
	})
}

func TestSlowApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{QueueEvents: 8})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, at(0))
		for i := 1; i <= 20; i++ {
			p.send(message("room", fmt.Sprint(i), uint64(i)))
		}
		synctest.Wait()
		wantMessages(t, ch, "1", "2", "3", "4", "5")
		synctest.Wait()
		if len(p.frames) != 0 {
			t.Fatalf("resumed with 3 of 8 events waiting: %s", p.read())
		}
		wantMessages(t, ch, "6")
		p.want(leaveRoom, joinRoomFrom(8))
		p.send(message("room", "20", 20), joined("room", at(20), protocol.ResumedWhole))
		for i := 9; i <= 20; i++ {
			p.send(message("room", fmt.Sprint(i), uint64(i)))
		}
		synctest.Wait()
		wantMessages(t, ch, "7", "8", "9", "10", "11", "12")
		p.want(leaveRoom, joinRoomFrom(14))
		p.send(joined("room", at(20), protocol.ResumedWhole))
		for i := 15; i <= 20; i++ {
			p.send(message("room", fmt.Sprint(i), uint64(i)))
		}
		wantMessages(t, ch, "13", "14", "15", "16", "17", "18", "19", "20")
		wantNothing(t, ch)
	})
}

func TestSlowApplicationWithoutHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{QueueEvents: 8})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{Presence: true})
		go func() {
			p.read()
			p.send(joined("room", nil, protocol.ResumeNotAsked), string(protocol.AppendMember(protocol.AppendPresenceFullHead(nil, "room"), me, ""))+protocol.PresenceFullTail)
		}()
		if err := ch.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		kind[*client.Joined](t, ch)
		kind[*client.PresenceList](t, ch)
		for i := range 20 {
			p.send(message("room", fmt.Sprint(i), 0))
		}
		jo := protocol.Member{Session: "gate0001jo", Identity: &protocol.Identity{}}
		p.send(string(protocol.AppendPresenceUpdate(nil, "room", "", protocol.PresenceJoin, protocol.AppendMember(nil, jo, ""))))
		synctest.Wait()
		wantMessages(t, ch, "0", "1", "2", "3", "4", "5")
		p.send(message("room", "later", 0))
		wantMessages(t, ch, "6", "7")
		if e := kind[*client.Gap](t, ch); e.Reason != client.GapSlow {
			t.Error(e.Reason)
		}
		if e := kind[*client.PresenceList](t, ch); len(e.Members) != 2 {
			t.Errorf("%+v", e)
		}
		wantMessages(t, ch, "later")
	})
}

// TestSlowWhileDisconnected: the queue is full when the connection breaks, and emptied while it is down.
func TestSlowWhileDisconnected(t *testing.T) {
	for _, drained := range []bool{true, false} {
		t.Run(fmt.Sprint(drained), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				c := s.client(client.Options{QueueEvents: 4})
				p := s.accept()
				ch := c.Channel("room", client.ChannelOptions{})
				join(t, p, ch, at(0))
				for i := 1; i <= 6; i++ {
					p.send(message("room", fmt.Sprint(i), uint64(i)))
				}
				synctest.Wait()
				_ = p.ws.CloseNow()
				if drained {
					synctest.Wait()
					wantMessages(t, ch, "1", "2", "3", "4")
				}
				p = s.accept()
				p.want(joinRoomFrom(4))
				p.send(joined("room", at(6), protocol.ResumedWhole), message("room", "5", 5), message("room", "6", 6))
				synctest.Wait()
				if !drained {
					wantMessages(t, ch, "1", "2", "3", "4")
					p.want(leaveRoom, joinRoomFrom(4))
					p.send(joined("room", at(6), protocol.ResumedWhole), message("room", "5", 5), message("room", "6", 6))
				} else if e := kind[*client.Joined](t, ch); !e.Resumed {
					t.Errorf("%+v", e)
				}
				wantMessages(t, ch, "5", "6")
				wantNothing(t, ch)
			})
		})
	}
}

func TestJoinAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		// A join that nobody answers is sent again.
		done := make(chan error, 1)
		go func() { done <- ch.Join(t.Context()) }()
		p.want(joinRoom)
		began := time.Now()
		p.want(joinRoom)
		if d := time.Since(began); d < 14*time.Second || d > 17*time.Second {
			t.Errorf("repeated after %v", d)
		}
		p.send(joined("room", at(1), protocol.ResumeNotAsked), joined("room", at(1), protocol.ResumeNotAsked), message("room", "a", 2))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		kind[*client.Joined](t, ch)
		wantMessages(t, ch, "a")

		// A refusal that passes is not the end of a channel that was joined before.
		_ = p.ws.CloseNow()
		kind[*client.Disconnected](t, ch)
		p = s.accept()
		p.want(joinRoomFrom(2))
		p.send(failure("room", "", &protocol.Error{Code: protocol.CodeUnavailable, Message: "broker", RetryAfter: 5}))
		began = time.Now()
		p.want(joinRoomFrom(2))
		if d := time.Since(began); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("repeated after %v", d)
		}
		p.send(joined("room", at(2), protocol.ResumedWhole))
		kind[*client.Joined](t, ch)

		// One that stays is.
		_ = p.ws.CloseNow()
		kind[*client.Disconnected](t, ch)
		p = s.accept()
		p.want(joinRoomFrom(2))
		p.send(failure("room", "", protocol.ErrAnonymousDenied))
		var refused *protocol.Error
		if _, err := ch.Next(t.Context()); !errors.As(err, &refused) || refused.Code != protocol.CodeAnonymousDenied {
			t.Error(err)
		}
	})
}

func TestSendWhileDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{Pending: 1})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, nil)
		// In flight when the connection breaks: unknown. Waiting for its turn: sent on the next connection.
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := ch.Send(t.Context(), "first"); first <- err }()
		p.sent()
		go func() { _, err := ch.Send(t.Context(), "second"); second <- err }()
		synctest.Wait()
		_ = p.ws.CloseNow()
		if err := <-first; !errors.Is(err, client.ErrUnknownOutcome) {
			t.Error(err)
		}
		p = s.accept()
		p.want(joinRoom)
		p.send(joined("room", nil, protocol.ResumeNotAsked))
		ref, payload := p.sent()
		if payload != `"second"` {
			t.Errorf("sent %s", payload)
		}
		p.send(ack("room", ref, "m", 0))
		if err := <-second; err != nil {
			t.Error(err)
		}
		_ = p.ws.CloseNow()
		s.http.Close() // nobody to come back to
		synctest.Wait()
		if _, err := ch.Send(t.Context(), "third"); err == nil || errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("never sent, but %v", err)
		}
	})
}

// TestAcceptAndClose: a server that takes the socket and closes it at once is not dialled at full speed.
func TestAcceptAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.client(client.Options{})
		began := time.Now()
		for range 8 {
			p := s.accept()
			p.close(websocket.StatusServiceRestart)
		}
		if d := time.Since(began); d < 20*time.Second || d > 2*time.Minute {
			t.Errorf("8 connections in %v", d)
		}
	})
}
