package client_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"fanfare/client"
	"fanfare/protocol"
)

func TestSendAndReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, at(7))
		if got := ch.Self().Socket; got != "gate0001me" {
			t.Errorf("self %q", got)
		}
		if ch.Position() != *at(7) {
			t.Errorf("position %v", ch.Position())
		}

		go func() {
			ref, payload := p.sent()
			if payload != `{"text":"hi"}` || ref == "" || len(ref) > protocol.MaxRef {
				t.Errorf("payload %s, ref %q", payload, ref)
			}
			p.send(message("room", "hi", 8), ack("room", ref, "id-hi", 8))
		}()
		receipt, err := ch.Send(t.Context(), map[string]string{"text": "hi"})
		if err != nil || receipt != (client.Receipt{ID: "id-hi", Offset: 8}) {
			t.Fatalf("%+v %v", receipt, err)
		}
		m := kind[*client.Message](t, ch)
		if m.Channel != "room" || m.ID != "id-hi" || m.Offset != 8 || m.Kind != protocol.KindMessage || m.Sender == nil || m.Sender.Socket != "gate0001me" {
			t.Errorf("%+v", m)
		}
		if ch.Position() != *at(8) {
			t.Errorf("position %v", ch.Position())
		}

		b, _ := protocol.AppendEvent(nil, "room", protocol.Audience{Kind: protocol.User, DboID: 17, RowID: "3"}, "e1", []byte(`{"n":1}`))
		p.send(string(b))
		m = kind[*client.Message](t, ch)
		if m.Kind != protocol.KindEvent || m.Sender != nil || m.DboID != 17 || m.RowID != "3" || string(m.Data) != `{"n":1}` {
			t.Errorf("%+v", m)
		}

		go func() {
			if got, want := p.read(), `{"action":"message","options":{"channel":"room","authenticated":true,"socketId":"gate0001x","ref":`; got[:len(want)] != want {
				t.Errorf("sent %s", got)
			}
			ch.Leave()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ch.SendTo(ctx, 1, client.SendOptions{Authenticated: true, To: "gate0001x"}); !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("without an answer: %v", err)
		}
		p.want(leaveRoom)
		if _, err := ch.Next(t.Context()); !errors.Is(err, client.ErrLeft) {
			t.Errorf("after leaving: %v", err)
		}
		if _, err := ch.Send(t.Context(), 1); !errors.Is(err, client.ErrNotJoined) {
			t.Errorf("after leaving: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, ok := <-p.frames; ok || websocket.CloseStatus(p.err) != websocket.StatusNormalClosure {
			t.Errorf("closed with %v", p.err)
		}
		if err := c.Channel("room", client.ChannelOptions{}).Join(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("after closing: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		go func() {
			p.want(joinRoom)
			p.send(failure("room", "", protocol.ErrAnonymousDenied))
		}()
		err := ch.Join(t.Context())
		var refused *protocol.Error
		if !errors.As(err, &refused) || refused.Code != protocol.CodeAnonymousDenied {
			t.Fatal(err)
		}
		p.want(leaveRoom)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ch = c.Channel("room", client.ChannelOptions{})
		if err := ch.Join(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		p.want(joinRoom, leaveRoom)

		ch = c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, nil)
		if err := ch.Join(t.Context()); !errors.Is(err, client.ErrJoined) {
			t.Error(err)
		}
		if err := c.Channel("room", client.ChannelOptions{}).Join(t.Context()); !errors.Is(err, client.ErrJoined) {
			t.Error(err)
		}
		go func() {
			ref, _ := p.sent()
			p.send(failure("room", ref, &protocol.Error{Code: protocol.CodeRateLimited, Message: "slow down", RetryAfter: 2}))
			ref, _ = p.sent()
			p.send(failure("room", ref, protocol.ErrUnknownOutcome))
		}()
		_, err = ch.Send(t.Context(), "x")
		if !errors.As(err, &refused) || refused.Code != protocol.CodeRateLimited || refused.RetryAfter != 2 || errors.Is(err, client.ErrUnknownOutcome) {
			t.Error(err)
		}
		_, err = ch.Send(t.Context(), "x")
		if !errors.As(err, &refused) || refused.Code != protocol.CodeUnknownOutcome || !errors.Is(err, client.ErrUnknownOutcome) {
			t.Error(err)
		}
		if _, err := ch.Send(t.Context(), func() {}); err == nil {
			t.Error("a function was sent")
		}
		p.send(failure("room", "", protocol.ErrPresenceDisabled))
		if e := kind[*client.Failure](t, ch); e.Err.Code != protocol.CodePresenceDisabled {
			t.Error(e.Err)
		}
		p.send(failure("room", "", &protocol.Error{Code: protocol.CodeRemoved, Message: "gone"}))
		if _, err := ch.Next(t.Context()); !errors.As(err, &refused) || refused.Code != protocol.CodeRemoved {
			t.Error(err)
		}
	})
}

func TestEndsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, nil)
		p.send(failure("", "", protocol.ErrUnknownHash))
		go p.close(websocket.StatusCode(protocol.CloseGoAway))
		if e := kind[*client.Failure](t, ch); e.Err.Code != protocol.CodeUnknownHash {
			t.Error(e.Err)
		}
		kind[*client.Disconnected](t, ch)
		_, err := ch.Next(t.Context())
		var closed *client.CloseError
		var cause *protocol.Error
		if !errors.As(err, &closed) || closed.Code != protocol.CloseGoAway || !errors.As(err, &cause) || cause.Code != protocol.CodeUnknownHash {
			t.Fatal(err)
		}
		<-c.Done()
		if !errors.Is(c.Err(), err) || c.Connected() {
			t.Error(c.Err())
		}
		if _, err := ch.Send(t.Context(), 1); !errors.As(err, &closed) {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDialHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		var left atomic.Int32
		left.Store(2)
		s.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
			if left.Add(-1) < 0 {
				return false
			}
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		began := time.Now()
		c := s.client(client.Options{})
		if d := time.Since(began); d < 2*time.Minute || d > 151*time.Second {
			t.Errorf("connected after %v", d)
		}
		left.Store(100)
		p := s.accept()
		began = time.Now()
		go p.close(websocket.StatusServiceRestart)
		synctest.Wait()
		<-time.After(70 * time.Second)
		left.Store(0)
		s.accept()
		if d := time.Since(began); d < time.Minute || d > 160*time.Second {
			t.Errorf("back after %v", d)
		}
		synctest.Wait()
		if !c.Connected() {
			t.Error("not connected")
		}
		left.Store(100)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := s.dialClient(ctx, client.Options{})
		var refused *client.HandshakeError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &refused) || refused.Status != 503 || refused.RetryAfter != time.Minute {
			t.Error(err)
		}
	})
}

func TestDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		_, err := s.dialClient(t.Context(), client.Options{})
		var refused *client.HandshakeError
		if !errors.As(err, &refused) || refused.Status != 403 {
			t.Error(err)
		}
		broken := errors.New("no token today")
		_, err = s.dialClient(t.Context(), client.Options{Token: func(context.Context) (string, error) { return "", broken }})
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		tokens := []string{"aaa.bbb.ccc", "ddd.eee.fff"}
		c := s.client(client.Options{Token: func(context.Context) (string, error) {
			token := tokens[0]
			tokens = tokens[1:]
			return token, nil
		}})
		p := s.accept()
		if p.token != "aaa.bbb.ccc" {
			t.Errorf("token %q", p.token)
		}
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, at(1))
		p.send(failure("", "", &protocol.Error{Code: protocol.CodeTokenExpired, Message: "expired"}))
		if _, ok := <-p.frames; ok || websocket.CloseStatus(p.err) != 4000 {
			t.Errorf("closed with %v", p.err)
		}
		p = s.accept()
		if p.token != "ddd.eee.fff" {
			t.Errorf("token %q", p.token)
		}
		p.want(joinRoomFrom(1))
		p.send(joined("room", at(1), protocol.ResumedWhole))
		kind[*client.Disconnected](t, ch)
		if e := kind[*client.Joined](t, ch); e.First || !e.Resumed {
			t.Errorf("%+v", e)
		}
	})
}

func TestDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, nil)
		// The peer's reader blocks, so that it answers no ping any more.
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range cap(p.frames) + 2 {
			go func() { _, _ = ch.History(ctx, client.HistoryQuery{}) }()
		}
		began := time.Now()
		kind[*client.Disconnected](t, ch)
		if d := time.Since(began); d > 50*time.Second {
			t.Errorf("noticed after %v", d)
		}
		for range p.frames {
		}
		p = s.accept()
		p.want(joinRoom)
	})
}

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{Presence: true, History: true})
		jo := protocol.Member{Session: "gate0001jo", Identity: &protocol.Identity{Authenticated: true, DboID: 17, RowID: "3", Extras: []byte(`{"name":"Jo"}`)}}
		update := func(action protocol.PresenceAction, m protocol.Member) string {
			return string(protocol.AppendPresenceUpdate(nil, "room", "", action, protocol.AppendMember(nil, m, "")))
		}
		answer := func() {
			p.want(`{"action":"join","options":{"channel":"room"},"payload":{"history":true,"presence":true}}`)
			p.send(joined("room", nil, protocol.ResumeNotAsked),
				string(protocol.AppendMember(protocol.AppendPresenceFullHead(nil, "room"), me, ""))+protocol.PresenceFullTail,
				string(protocol.AppendHistory(nil, "room", nil, protocol.HistoryUnpaged)))
		}
		go answer()
		if err := ch.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		kind[*client.Joined](t, ch)
		if l := kind[*client.PresenceList](t, ch); len(l.Members) != 1 || l.Members[0].Socket != "gate0001me" {
			t.Errorf("%+v", l)
		}
		if h := kind[*client.History](t, ch); len(h.Messages) != 0 {
			t.Errorf("%+v", h)
		}
		p.send(update(protocol.PresenceJoin, jo))
		if e := kind[*client.PresenceChange](t, ch); e.Action != protocol.PresenceJoin || e.Member.DboID != 17 || string(e.Member.Extras) != `{"name":"Jo"}` {
			t.Errorf("%+v", e)
		}
		jo.Data = []byte(`{"typing":true}`)
		p.send(update(protocol.PresenceUpdate, jo))
		if e := kind[*client.PresenceChange](t, ch); string(e.Member.Data) != `{"typing":true}` {
			t.Errorf("%+v", e)
		}
		if l := ch.Presence(); len(l) != 2 || string(l[1].Data) != `{"typing":true}` {
			t.Errorf("%+v", l)
		}
		p.send(update(protocol.PresenceLeave, jo), update(protocol.PresenceLeave, jo))
		kind[*client.PresenceChange](t, ch)
		kind[*client.PresenceChange](t, ch)
		if l := ch.Presence(); len(l) != 1 {
			t.Errorf("%+v", l)
		}
		// One's own data is told again after a reconnection.
		const data = `{"action":"presence_update","options":{"channel":"room"},"payload":{"data":{"typing":true}}}`
		if err := ch.SetPresence(t.Context(), map[string]bool{"typing": true}); err != nil {
			t.Fatal(err)
		}
		if err := ch.SetPresence(t.Context(), 5); err == nil {
			t.Error("a number became presence data")
		}
		p.want(data)
		go p.close(websocket.StatusTryAgainLater)
		p = s.accept()
		answer()
		p.want(data)
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(client.Options{})
		p := s.accept()
		ch := c.Channel("room", client.ChannelOptions{})
		join(t, p, ch, at(50))
		page := func(more protocol.HistoryMore, offset uint64, text string) string {
			m := protocol.Publication{Channel: "room", Kind: protocol.KindMessage, Offset: offset}
			m.Frame, m.Splice = protocol.AppendMessage(nil, "room", protocol.Audience{}, "id", me, protocol.AppendString(nil, text))
			return string(protocol.AppendHistory(nil, "room", []*protocol.Publication{&m}, more))
		}
		zero := uint64(0)
		go func() {
			p.want(`{"action":"history","options":{"channel":"room"},"payload":{"limit":5,"before":"42"}}`)
			// A history that a join brought late must not be taken for the answer.
			p.send(page(protocol.HistoryUnpaged, 1, "other"), page(protocol.HistoryHasMore, 41, "older"))
			p.want(`{"action":"history","options":{"channel":"room"},"payload":{"limit":100,"after":"0","since":1767323045678}}`)
			p.send(failure("room", "", protocol.ErrUnavailable))
			p.want(`{"action":"history","options":{"channel":"room"},"payload":{"limit":100}}`)
			p.close(websocket.StatusServiceRestart)
		}()
		got, err := ch.History(t.Context(), client.HistoryQuery{Limit: 5, Before: 42})
		if err != nil || !got.More || len(got.Messages) != 1 || got.Messages[0].Offset != 41 || string(got.Messages[0].Data) != `"older"` {
			t.Errorf("%+v %v", got, err)
		}
		if h := kind[*client.History](t, ch); len(h.Messages) != 1 || string(h.Messages[0].Data) != `"other"` {
			t.Errorf("%+v", h)
		}
		var refused *protocol.Error
		if _, err = ch.History(t.Context(), client.HistoryQuery{After: &zero, Since: time.UnixMilli(1767323045678)}); !errors.As(err, &refused) || refused.Code != protocol.CodeUnavailable {
			t.Error(err)
		}
		if _, err = ch.History(t.Context(), client.HistoryQuery{}); websocket.CloseStatus(err) != websocket.StatusServiceRestart {
			t.Error(err)
		}
	})
}
