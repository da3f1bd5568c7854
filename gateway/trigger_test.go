package gateway

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// triggers answers as it is told.
type triggers struct {
	payload json.RawMessage
	err     *protocol.Error
	joins   atomic.Int32
	wait    time.Duration
}

func (t *triggers) Join(ctx context.Context, _ []policy.Trigger, _ TriggerInput) *protocol.Error {
	t.joins.Add(1)
	select {
	case <-time.After(t.wait):
		return t.err
	case <-ctx.Done():
		return protocol.ErrJoinRejected
	}
}

func (t *triggers) Message(_ context.Context, _ []policy.Trigger, in TriggerInput) (json.RawMessage, *protocol.Error) {
	if t.payload == nil {
		return in.Payload, t.err
	}
	return t.payload, t.err
}

func triggered(tb testing.TB, to *triggers) *server {
	tb.Helper()
	rule := open("room", 25)
	rule.Triggers = []policy.Trigger{{URL: "https://hooks.example/x", Actions: policy.TriggerActions{Join: true, Message: true}}}
	s := newServer(tb, testOptions(), rule, open("free", 0))
	s.ports.Triggers = to
	s.run(tb)
	synctest.Wait()
	return s
}

// A join waits for its trigger, and what the socket sends behind it waits too; other sockets do not.
func TestJoinTrigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &triggers{wait: 5 * time.Second}
		s := triggered(t, hook)
		c, other := s.pipe(t, ""), s.pipe(t, "")
		began := time.Now()
		c.send(joinFrame("room"))
		go c.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":1}`) // a pipe keeps nothing: it is read later
		other.join("free", "null")
		if took := time.Since(began); took > time.Second {
			t.Errorf("another socket waited %v", took)
		}
		c.action("join")
		c.want("ack", func(f *frame) bool { return f.Action == "ack" })
		if took := time.Since(began); took < hook.wait || took > hook.wait+time.Second {
			t.Errorf("joined after %v", took)
		}
		c.join("room", "null")
		if n := hook.joins.Load(); n != 1 {
			t.Errorf("the trigger ran %d times for one membership", n)
		}
		s.memory.mu.Lock()
		defer s.memory.mu.Unlock()
		if n := len(s.memory.stored); n != 1 {
			t.Errorf("%d stored", n)
		}
	})
}

// A trigger that never answers ends with its time.
func TestJoinTriggerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := triggered(t, &triggers{wait: time.Hour})
		c := s.pipe(t, "")
		c.send(joinFrame("room"))
		time.Sleep(joinTriggers + time.Second)
		if e := c.action("error"); !strings.Contains(string(e.Payload), "join_rejected") {
			t.Errorf("error: %s", e.Payload)
		}
		s.pipe(t, "").send(joinFrame("room"))
		synctest.Wait()
		s.stop() // does not wait for the trigger
	})
}

// What the trigger makes of a message is what everybody gets and what is stored; what it blocks nobody gets.
func TestMessageTrigger(t *testing.T) {
	for _, c := range []struct {
		name string
		hook *triggers
		want string // payload, or code of the error
	}{
		{"rewritten", &triggers{payload: json.RawMessage(`{"clean":true}`)}, `{"clean":true}`},
		{"as it was", &triggers{}, `"as sent"`},
		{"blocked", &triggers{err: protocol.ErrMessageRejected}, "message_rejected"},
		{"too large", &triggers{payload: json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)}, "trigger_failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hook := &triggers{payload: c.hook.payload}
				s := triggered(t, hook)
				a, b := s.pipe(t, ""), s.pipe(t, "")
				a.join("room", "null")
				b.join("room", "null")
				hook.err = c.hook.err
				a.send(`{"action":"message","options":{"channel":"room","ref":"r"},"payload":"as sent"}`)
				if strings.HasPrefix(c.want, "{") || strings.HasPrefix(c.want, `"`) {
					a.want("ack", func(f *frame) bool { return f.Action == "ack" })
					if m := b.action("message"); string(m.Payload) != c.want {
						t.Errorf("payload: %s", m.Payload)
					}
					return
				}
				if e := a.action("error"); e.Options.Ref != "r" || !strings.Contains(string(e.Payload), c.want) {
					t.Errorf("error: %+v", e)
				}
				synctest.Wait()
				if n := len(b.texts()); n != 1 || len(s.memory.stored) != 0 {
					t.Errorf("%d frames, %d stored", n, len(s.memory.stored))
				}
			})
		})
	}
}
