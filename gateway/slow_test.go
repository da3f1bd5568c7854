package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"fanfare/protocol"
)

// certificate makes a self-signed one for 127.0.0.1, and what a client needs to trust it.
func certificate(tb testing.TB) (server, client *tls.Config) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	server = &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	return server, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "127.0.0.1"}
}

// withTLS gives a server a certificate, and its clients the trust in it.
func withTLS(tb testing.TB) func(*server) {
	tb.Helper()
	return func(s *server) { s.front.TLS, s.trust = certificate(tb) }
}

// withoutRings lets every write be a system call of its own.
func withoutRings(s *server) { s.opts.IOURing = false }

// A member that reads nothing is evicted with 1013 behind what was taken; the others get everything, and what waits
// for it is bounded.
func TestSlowReaderIsEvicted(t *testing.T) {
	for name, change := range map[string]func(*server){"ring": nil, "plain": withoutRings, "tls": withTLS(t)} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.WriteTimeout = 30 * time.Second
			s := serveWith(t, o, change, open("room", 0))
			slow := s.socket(t)
			slow.write(t, masked(opText, joinFrame("room")))
			slow.frame(t)
			quick := s.dial(t, "")
			quick.join("room", "null")
			members := s.Sessions(nil)
			sent, most := 0, 0
			gone := func() bool {
				for _, m := range members {
					most = max(most, m.conn.pending())
					if m.conn.evictReason() == evictBacklog {
						return true
					}
				}
				return false
			}
			top, big := s.topic(t, "room"), strings.Repeat("x", 32<<10)
			for ; !gone(); sent++ {
				if sent > 4000 {
					t.Fatal("never evicted")
				}
				top.Deliver(event("room", fmt.Sprintf("%d.%s", sent, big)))
				quick.want("event", func(f *frame) bool { return strings.HasPrefix(f.Options.ID, fmt.Sprintf("%d.", sent)) })
			}
			if most > o.BacklogBytes+1<<10 {
				t.Errorf("%d bytes waited for one socket", most)
			}
			if code := slow.closed(); code != 1013 {
				t.Errorf("the slow reader saw close code %d", code)
			}
			_ = slow.Close()
			eventually(t, "session gone", func() bool { return len(s.Sessions(nil)) == 1 })
			top.Deliver(event("room", "last"))
			quick.want("last", func(f *frame) bool { return f.Options.ID == "last" })
		})
	}
}

// A presence list far beyond the backlog's limit, and live frames behind it, reach a member that reads slowly.
func TestLargeListsDoNotEvict(t *testing.T) {
	for name, change := range map[string]func(*server){"ring": nil, "plain": withoutRings, "tls": withTLS(t)} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.BacklogBytes = 64 << 10
			s := serveWith(t, o, change, open("room", 0))
			first := s.dial(t, "")
			first.join("room", `{"presence":true,"history":false}`)
			crowd(s.topic(t, "room"), 20_000)
			r := s.socket(t)
			r.write(t, masked(opText, `{"action":"join","options":{"channel":"room"},"payload":{"presence":true}}`))
			if _, answer := r.frame(t); !strings.HasPrefix(answer, `{"action":"join"`) {
				t.Fatalf("answer: %.100s", answer)
			}
			eventually(t, "the member", func() bool { return len(s.memory.members()) == 2 })
			for i := range 50 {
				s.topic(t, "room").Deliver(event("room", fmt.Sprint(i, strings.Repeat("x", 500))))
			}
			_, list := r.frame(t)
			if n := strings.Count(list, "socketId"); n != 20_002 {
				t.Errorf("%d members in the list", n)
			}
			for i := range 50 {
				if _, text := r.frame(t); !strings.Contains(text, fmt.Sprintf(`"id":"%d`, i)) {
					t.Fatalf("event %d: %.100s", i, text)
				}
			}
		})
	}
}

// crowd puts members of other gateways into a topic's list.
func crowd(t *topic, n int) {
	changes := make([]PresenceChange, 0, n)
	for i := range n {
		id := protocol.SessionID(fmt.Sprintf("othernod-%012d", i))
		entry := protocol.AppendMember(nil, protocol.Member{Session: id, Identity: &protocol.Identity{}}, "")
		changes = append(changes, PresenceChange{Action: protocol.PresenceJoin, Channel: t.key.Channel, Session: id, Entry: entry})
	}
	t.Changed(changes)
}

// A socket that asks for history again and again and reads nothing of it does not fill the memory: its frames are
// no longer read.
func TestAnswersToANonReaderAreBounded(t *testing.T) {
	o := testOptions()
	o.Limits.FramesPerSecond = 0
	o.WriteTimeout = time.Minute
	s := serve(t, o, open("room", 25))
	for i := range 25 {
		p := event("room", fmt.Sprint(i, strings.Repeat("x", 20<<10)))
		s.memory.publish(p, true, func(protocol.Receipt, error) {})
	}
	r := s.socket(t)
	r.write(t, masked(opText, joinFrame("room")))
	r.frame(t)
	session := s.Sessions(nil)[0]
	ask := masked(opText, `{"action":"history","options":{"channel":"room"},"payload":null}`)
	for range 60 {
		r.write(t, ask)
	}
	unsent := func() int {
		session.conn.mu.Lock()
		defer session.conn.mu.Unlock()
		return session.conn.unsent
	}
	eventually(t, "backlog", func() bool { return unsent() > o.BacklogBytes })
	for range 20 {
		if got := unsent(); got > o.BacklogBytes+2*25*21<<10 {
			t.Fatalf("%d bytes wait for one socket", got)
		}
		<-time.After(5 * time.Millisecond)
	}
	for range 60 { // every request is answered once it reads
		if _, text := r.frame(t); strings.Count(text, `"offset"`) != 25 {
			t.Fatalf("history: %.100s", text)
		}
	}
}
