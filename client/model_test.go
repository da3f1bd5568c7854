package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"fanfare/client"
	"fanfare/protocol"
)

// model is a server with one stored channel that behaves as the contract says and is cut off at random moments.
type model struct {
	t   *testing.T
	mu  sync.Mutex
	log []string // text of each stored message; offset = 10 + 3 times its index
	// members are the connections joined at the moment.
	members map[*peer]bool
}

func offsetOf(i int) uint64 { return 10 + 3*uint64(i) }

func (m *model) frame(i int) string { return message("room", m.log[i], offsetOf(i)) }

func (m *model) positionLocked() *protocol.Position {
	if len(m.log) == 0 {
		return at(0)
	}
	return at(offsetOf(len(m.log) - 1))
}

// publish stores a message and sends it to the members.
func (m *model) publish(text string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, text)
	i := len(m.log) - 1
	for p := range m.members {
		if p.ws.Write(p.ctx, websocket.MessageText, []byte(m.frame(i))) != nil {
			delete(m.members, p)
		}
	}
	return offsetOf(i)
}

func (m *model) serve(p *peer) {
	defer func() {
		m.mu.Lock()
		delete(m.members, p)
		m.mu.Unlock()
	}()
	write := func(f string) bool { return p.ws.Write(p.ctx, websocket.MessageText, []byte(f)) == nil }
	for b := range p.frames {
		r, failed := protocol.Decode(b, 128)
		if failed != nil {
			m.t.Error(failed)
			return
		}
		switch r.Action { //nolint:exhaustive // the rest is not sent
		case protocol.ActionJoin:
			j, failed := protocol.DecodeJoin(r.Payload)
			if failed != nil {
				m.t.Error(failed)
			}
			m.mu.Lock()
			resumed := protocol.ResumeNotAsked
			if j.Resume {
				resumed = protocol.ResumedWhole
			}
			ok := write(joined("room", m.positionLocked(), resumed))
			for i := 0; ok && j.Resume && i < len(m.log); i++ {
				if offsetOf(i) > j.From.Offset || rand.N(4) == 0 { // some are repeated, as a careless server might
					ok = write(m.frame(i))
				}
			}
			if ok {
				m.members[p] = true
			}
			m.mu.Unlock()
		case protocol.ActionLeave:
			m.mu.Lock()
			delete(m.members, p)
			m.mu.Unlock()
		case protocol.ActionMessage:
			text, err := strconv.Unquote(string(r.Payload))
			if err != nil {
				m.t.Error(err)
			}
			offset := m.publish(text)
			write(ack("room", r.Ref, "id-"+text, offset))
		}
	}
}

// TestExactlyOnce: whatever breaks and however slow the application is, it receives every stored message once
// and in order, and every acknowledged message is among them.
func TestExactlyOnce(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exactlyOnce(t, rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func exactlyOnce(t *testing.T, random *rand.Rand) {
	t.Helper()
	s := newServer(t)
	m := &model{t: t, members: map[*peer]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var current *peer
	var mu sync.Mutex
	wg.Go(func() { // accept
		for {
			select {
			case p := <-s.peers:
				mu.Lock()
				current = p
				mu.Unlock()
				wg.Go(func() { m.serve(p) })
			case <-ctx.Done():
				return
			}
		}
	})
	c := s.client(client.Options{QueueEvents: 16, BackoffMax: time.Second})
	defer c.Close()
	ch := c.Channel("room", client.ChannelOptions{})
	if err := ch.Join(t.Context()); err != nil {
		t.Fatal(err)
	}

	const total = 300
	acked := map[string]bool{}
	sending := make(chan struct{})
	cuts, pauses := random.Perm(total)[:12], random.Perm(total)
	wg.Go(func() { // the client's own messages among those of others
		defer close(sending)
		for i := range total {
			if i%3 == 0 {
				text := fmt.Sprintf("own%d", i)
				if _, err := ch.Send(ctx, text); err == nil {
					acked[text] = true
				}
				continue
			}
			m.publish(fmt.Sprintf("other%d", i))
			if pauses[i] < 40 {
				<-time.After(time.Duration(pauses[i]) * 10 * time.Millisecond)
			}
			for _, cut := range cuts {
				if cut == i {
					mu.Lock()
					_ = current.ws.CloseNow()
					mu.Unlock()
				}
			}
		}
	})
	var got []string
	for {
		m.mu.Lock()
		length := len(m.log)
		m.mu.Unlock()
		select {
		case <-sending:
		default:
			length = total + 1
		}
		if len(got) >= length {
			break
		}
		e := next(t, ch)
		switch e := e.(type) {
		case *client.Message:
			var text string
			if err := e.Decode(&text); err != nil {
				t.Fatal(err)
			}
			got = append(got, text)
			if pauses[len(got)%total] < 60 {
				<-time.After(time.Duration(pauses[len(got)%total]) * 5 * time.Millisecond)
			}
		case *client.Gap:
			t.Fatalf("gap: %s", e.Reason)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.log {
		if got[i] != m.log[i] {
			t.Fatalf("message %d is %s, want %s", i, got[i], m.log[i])
		}
		delete(acked, m.log[i])
	}
	if len(acked) > 0 {
		t.Errorf("acknowledged and not stored: %v", acked)
	}
	if len(acked) == 0 && len(m.log) < total*2/3 {
		t.Errorf("only %d messages", len(m.log))
	}
}
