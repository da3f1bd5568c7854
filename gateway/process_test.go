package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lxzan/gws"

	"fanfare/protocol"
)

// sink is a peer that takes everything at once and keeps it.
type sink struct {
	mu   sync.Mutex
	got  bytes.Buffer
	keep bool
	n    int
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keep {
		s.got.Write(b)
	}
	s.n += len(b)
	return len(b), nil
}

func (*sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (*sink) Close() error                     { return nil }
func (*sink) LocalAddr() net.Addr              { return nil }
func (*sink) RemoteAddr() net.Addr             { return nil }
func (*sink) SetDeadline(time.Time) error      { return nil }
func (*sink) SetReadDeadline(time.Time) error  { return nil }
func (*sink) SetWriteDeadline(time.Time) error { return nil }

// attach makes a session whose frames go to a sink at once, without a kernel and without a reader.
func (s *server) attach(to *sink, identity *protocol.Identity) *Session {
	c := &conn{Conn: to, limits: &s.connLimits, fd: -1}
	c.direct = func(b []byte) (int, error) { return to.Write(b) }
	session := &Session{gw: s.Gateway, id: s.newSessionID(), server: 1, conn: c}
	session.identity.Store(identity)
	return session
}

// texts are the payloads of the frames a sink got.
func (s *sink) texts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for b := s.got.Bytes(); len(b) > 0; {
		n := frameLen(b)
		head := 2
		switch b[1] {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		out = append(out, string(b[head:n]))
		b = b[n:]
	}
	s.got.Reset()
	return out
}

func message(text []byte) *gws.Message {
	return &gws.Message{Opcode: gws.OpcodeText, Data: bytes.NewBuffer(text)}
}

// Whatever bytes come, process does not panic, and answers or stays silent as the contract says: what is not
// understood and what carries a ref is always answered, with JSON.
func FuzzProcess(f *testing.F) {
	for _, seed := range []string{
		joinFrame("room"), joinFrame("chat/*"), joinFrame("nowhere"), `{"action":"leave","options":{"channel":"room"}}`,
		`{"action":"message","options":{"channel":"room","ref":"r"},"payload":{"a":[1,2]}}`,
		`{"action":"message","options":{"channel":"room","socketId":"x","authenticated":true}}`,
		`{"action":"history","options":{"channel":"room"},"payload":{"limit":3,"before":"9"}}`,
		`{"action":"join","options":{"channel":"room"},"payload":{"resume":{"offset":"1","epoch":"e"}}}`,
		`{"action":"presence_update","options":{"channel":"room"},"payload":{"data":{"x":1}}}`,
		`{"action":"message","options":{"ref":"no channel"}}`, `[]`, `{`, "", "\xff", `{"action":"message","options":{"ref":7}}`,
	} {
		f.Add([]byte(seed), []byte(joinFrame("room")))
	}
	o := testOptions()
	o.Limits.FramesPerSecond = 0
	s := newServer(f, o, nested("chat", 25), open("room", 25))
	s.run(f)
	eventually(f, "ready", s.Ready)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		to := &sink{keep: true}
		session := s.attach(to, nobody)
		defer func() {
			for _, m := range session.subs {
				m.leave(false)
			}
		}()
		s.memory.mu.Lock()
		s.memory.stored = nil
		s.memory.mu.Unlock()
		for _, text := range [][]byte{second, first, second} {
			session.process(message(append([]byte(nil), text...)))
			answers := to.texts()
			for _, a := range answers {
				if !json.Valid([]byte(a)) {
					t.Fatalf("%q: answer is no JSON: %s", text, a)
				}
			}
			r, failed := protocol.Decode(text, o.Limits.JSONDepth)
			_, badChannel := protocol.ParseChannel(r.Channel, o.Limits.ChannelBytes, o.Limits.ChannelSegments)
			must := failed != nil || badChannel != nil || r.Action == protocol.ActionJoin || r.Action == protocol.ActionHistory ||
				r.Action == protocol.ActionMessage && r.Ref != ""
			if must && len(answers) == 0 {
				t.Fatalf("%q: no answer", text)
			}
			if failed != nil && r.Ref != "" && !strings.Contains(answers[0], `"ref":`) {
				t.Fatalf("%q: error without its ref: %s", text, answers[0])
			}
		}
	})
}
