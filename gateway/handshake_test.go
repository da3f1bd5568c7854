package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

func head(lines ...string) string {
	return "GET /rt/hash HTTP/1.1\r\nHost: test\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

var upgradeLines = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

func replaced(lines []string, old, now string) []string {
	out := append([]string(nil), lines...)
	for i := range out {
		if strings.HasPrefix(out[i], old) {
			out[i] = now
		}
	}
	return out
}

// What a request needs to become a socket, and how it is refused, over the bare listener and through an http.Server.
func TestUpgradeRequests(t *testing.T) {
	for _, c := range []struct {
		name, text string
		status     int
		header     string // one that the answer must have
		code       string
	}{
		{"plain", head(upgradeLines...), 101, "Sec-WebSocket-Accept", ""},
		{"several values", head(replaced(upgradeLines, "Connection", "Connection: keep-alive, Upgrade")...), 101, "", ""},
		{"several lines", head(append([]string{"Connection: keep-alive"}, upgradeLines...)...), 101, "", ""},
		{"case", head(replaced(upgradeLines, "Upgrade", "upgrade: WebSocket")...), 101, "", ""},
		{"another origin", head(append(upgradeLines, "Origin: https://elsewhere.example")...), 403, "", "origin"},
		{"allowed origin", head(append(upgradeLines, "Origin: https://APP.example")...), 101, "", ""},
		{"no upgrade", head("Accept: */*"), 426, "Upgrade", "upgrade_required"},
		{"old version", head(replaced(upgradeLines, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 8")...), 426, "Sec-WebSocket-Version", "websocket_version"},
		{"no key", head(upgradeLines[:3]...), 400, "", "bad_request"},
		{"no hash", strings.Replace(head(upgradeLines...), "/rt/hash", "/rt/", 1), 404, "", "not_found"},
		{"deeper", strings.Replace(head(upgradeLines...), "/rt/hash", "/rt/hash/x", 1), 404, "", "not_found"},
		{"HTTP/1.0", strings.Replace(head(upgradeLines...), "HTTP/1.1", "HTTP/1.0", 1), 505, "", "http_version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions()
			o.AllowedOrigins = []string{"https://app.example"}
			s := serveWith(t, o, viaHTTP)
			for _, way := range []string{"bare", "keep-alive"} {
				text := c.text
				if way == "keep-alive" {
					text = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n" + text
				}
				r := s.request(t, text)
				if way == "keep-alive" {
					if resp, body := r.response(t); resp.StatusCode != 200 || body != "hello" {
						t.Fatalf("first answer: %d %q", resp.StatusCode, body)
					}
				}
				resp, body := r.response(t)
				if resp.StatusCode != c.status || c.header != "" && resp.Header.Get(c.header) == "" || c.code != "" && !strings.Contains(body, `"code":"`+c.code+`"`) {
					t.Errorf("%s: %d %v %s", way, resp.StatusCode, resp.Header, body)
				}
				if resp.Header.Get("Sec-WebSocket-Protocol") != "" {
					t.Errorf("%s: a subprotocol that nobody offered", way)
				}
			}
			post := s.request(t, "POST /rt/hash HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
			if resp, _ := post.response(t); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET" {
				t.Errorf("POST: %d", resp.StatusCode)
			}
		})
	}
}

// viaHTTP mounts the gateway in an HTTP handler, as a node does.
func viaHTTP(s *server) {
	s.front.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/rt/") {
			s.ServeHTTP(w, r)
			return
		}
		_, _ = io.WriteString(w, "hello")
	})
}

// Frames right behind the upgrade request are answered, over TLS and through an http.Server as well.
func TestEarlyFrames(t *testing.T) {
	for _, secured := range []bool{false, true} {
		for _, before := range []string{"", "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"} {
			t.Run(fmt.Sprintf("tls=%v,before=%d", secured, len(before)), func(t *testing.T) {
				s := serveWith(t, testOptions(), func(s *server) {
					viaHTTP(s)
					if secured {
						withTLS(t)(s)
					}
				}, open("room", 0))
				text := before + head(upgradeLines...) + string(masked(opText, joinFrame("room")))
				for i := range 100 { // more than the readers' buffers
					text += string(masked(opText, fmt.Sprintf(`{"action":"message","options":{"channel":"room","ref":"%d"},"payload":"%0200d"}`, i, i)))
				}
				r := s.request(t, text)
				if before != "" {
					r.response(t)
				}
				if resp, body := r.response(t); resp.StatusCode != 101 {
					t.Fatalf("%d %s", resp.StatusCode, body)
				}
				acks := 0
				for acks < 100 {
					if _, payload := r.frame(t); strings.HasPrefix(payload, `{"action":"ack","options":{"channel":"room","ref":"`+fmt.Sprint(acks)+`"`) {
						acks++
					}
				}
			})
		}
	}
}

// A token is echoed byte for byte and says who it is; a bad one makes an anonymous client that is told.
func TestTokens(t *testing.T) {
	s := serve(t, testOptions(), open("room", 0))
	long := "user-5" + strings.Repeat(".x", 6000)
	if j := s.dial(t, long).join("room", "null"); j.Client.SocketID == "" {
		t.Error("no socket id")
	}
	if id := s.Sessions(nil)[0].Identity(); !id.Authenticated || id.RowID != "5" {
		t.Errorf("identity: %+v", id)
	}
	bad := s.dial(t, "nonsense")
	if e := bad.action("error"); e.Options.Channel != "" || !strings.Contains(string(e.Payload), "authentication_failed") {
		t.Errorf("error: %+v", e)
	}
	bad.join("room", "null")
}

type failingAuth struct{ err error }

func (a failingAuth) Authenticate(context.Context, string) (protocol.Identity, error) {
	return protocol.Identity{}, a.err
}

// A token that cannot be checked now is refused with 503, an expired one is let in as nobody.
func TestTokensThatCannotBeChecked(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("keys: %w", ErrAuthUnavailable), 503, "auth_unavailable"},
		{fmt.Errorf("old: %w", ErrTokenExpired), 101, "token_expired"},
		{errors.New("no"), 101, "authentication_failed"},
	} {
		s := serveWith(t, testOptions(), func(s *server) { s.ports.Authenticator = failingAuth{c.err} })
		r := s.request(t, head(append(upgradeLines, "Sec-WebSocket-Protocol: token")...))
		resp, body := r.response(t)
		if c.status == 101 {
			_, body = r.frame(t)
		}
		if resp.StatusCode != c.status || !strings.Contains(body, c.code) || (c.status == 503) != (resp.Header.Get("Retry-After") != "") {
			t.Errorf("%v: %d %s", c.err, resp.StatusCode, body)
		}
	}
}

// Limits of the whole gateway: each refuses with its status and Retry-After, and lets in again afterwards.
func TestSocketLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(*Options)
		status int
		room   int // sockets that are let in
	}{
		{"sockets", func(o *Options) { o.Sockets = 3 }, 503, 3},
		{"address", func(o *Options) { o.SocketsPerAddress = 2 }, 429, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions()
			c.edit(&o)
			s := serve(t, o, open("room", 0))
			var in []*raw
			for range c.room {
				in = append(in, s.socket(t))
			}
			resp, body := s.request(t, head(upgradeLines...)).response(t)
			if resp.StatusCode != c.status || resp.Header.Get("Retry-After") == "" {
				t.Errorf("over the limit: %d %v %s", resp.StatusCode, resp.Header, body)
			}
			_ = in[0].Close()
			eventually(t, "a seat", func() bool {
				resp, _ := s.request(t, head(upgradeLines...)).response(t)
				return resp.StatusCode == 101
			})
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.seats > c.room {
				t.Errorf("%d seats", s.seats)
			}
		})
	}
}

// Refused and broken upgrades leave no seat taken.
func TestSeatsAreGivenBack(t *testing.T) {
	o := testOptions()
	o.SocketsPerAddress = 1000
	s := serveWith(t, o, viaHTTP, open("room", 0))
	for range 20 {
		for _, text := range []string{
			head(upgradeLines...), strings.Replace(head(upgradeLines...), "hash", "unknown", 1), head(upgradeLines[:3]...),
			"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n" + head(upgradeLines...), "GET /rt/hash HTTP/1.1\r\nHost", "GET",
		} {
			_ = s.request(t, text).Close()
		}
	}
	eventually(t, "seats", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.seats == 0 && len(s.addresses) == 0 && len(s.sessions) == 0 && len(s.byID) == 0
	})
}

func TestUpgradesPerSecond(t *testing.T) {
	o := testOptions()
	o.UpgradesPerSecond = 5
	s := serve(t, o, open("room", 0))
	refused, began := 0, time.Now()
	for range 20 {
		switch resp, _ := s.request(t, head(upgradeLines...)).response(t); {
		case resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "":
			refused++
		case resp.StatusCode != 101:
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	// Five at once, and as many each second that a busy machine needs for the others.
	if took := time.Since(began); refused > 15 || float64(20-refused) > 6+5*took.Seconds() {
		t.Errorf("%d of 20 refused in %v", refused, took)
	}
}

// Before it runs and while it drains, a gateway answers 503.
func TestNotReady(t *testing.T) {
	s := serve(t, testOptions(), open("room", 0))
	for what, set := range map[string]func(bool){
		"starting": func(on bool) { s.ready.Store(!on) }, "draining": func(on bool) { s.draining.Store(on) },
	} {
		set(true)
		resp, body := s.request(t, head(upgradeLines...)).response(t)
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, what) {
			t.Errorf("%s: %d %s", what, resp.StatusCode, body)
		}
		set(false)
	}
}

// Connections that do not get on with their request are dropped; a head that is too large is refused.
func TestHandshakeLimits(t *testing.T) {
	o := testOptions()
	o.HandshakeTimeout = 300 * time.Millisecond
	s := serve(t, o, open("room", 0))
	for _, text := range []string{"", "GET /rt/", "GET /rt/hash HTTP/1.1\r\nHost: test\r\nX: "} {
		r := s.request(t, text)
		began := time.Now()
		answer, _ := io.ReadAll(r)
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("%q: kept for %v", text, took)
		}
		if strings.Contains(string(answer), "101 ") {
			t.Errorf("%q: %s", text, answer)
		}
	}
	o = testOptions() // those are not to be late
	o.HandshakeTimeout = 30 * time.Second
	s = serve(t, o, open("room", 0))
	for n, want := range map[int]int{50 << 10: 101, 65 << 10: 431, 1 << 20: 431} {
		r := s.request(t, "GET /rt/hash HTTP/1.1\r\nHost: test\r\n")
		go func() {
			_, _ = io.WriteString(r, "X-Large: "+strings.Repeat("x", n)+"\r\n"+strings.Join(upgradeLines, "\r\n")+"\r\n\r\n")
		}()
		if resp, body := r.response(t); resp.StatusCode != want {
			t.Errorf("%d bytes: %d %s", n, resp.StatusCode, body)
		}
	}
	s.socket(t) // others are not affected
}

// Over TLS a plain request is answered, a plain connection is dropped, and a large answer waits for its reader.
func TestTLSFront(t *testing.T) {
	large := strings.Repeat("y", 20<<20)
	s := serveWith(t, testOptions(), func(s *server) {
		withTLS(t)(s)
		s.front.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
	}, open("room", 0))
	r := s.request(t, "GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
	<-time.After(50 * time.Millisecond)
	if resp, body := r.response(t); resp.StatusCode != 200 || body != large {
		t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
	}
	trust := s.trust
	s.trust = nil
	if answer, _ := io.ReadAll(s.request(t, head(upgradeLines...))); strings.Contains(string(answer), "101 ") {
		t.Errorf("plain on TLS: %q", answer)
	}
	s.trust = trust
	s.dial(t, "user-1").join("room", "null")
}

// Only so many connections may be in their handshake; those beyond are closed and counted.
func TestManyHandshakes(t *testing.T) {
	o := testOptions()
	o.HandshakeTimeout = 30 * time.Second
	s := serveWith(t, o, func(s *server) { s.front.handshakeLimit = 8 }, open("room", 0))
	var waiting []*raw
	for range 8 {
		waiting = append(waiting, s.request(t, "GET /rt/"))
	}
	refused := func() float64 {
		return counted(t, o.Registerer.(*prometheus.Registry), "fanfare_sessions_refused_total")
	}
	eventually(t, "refusal", func() bool {
		_, _ = io.ReadAll(s.request(t, ""))
		return refused() > 0
	})
	for _, r := range waiting {
		_ = r.Close()
	}
	eventually(t, "a place", func() bool {
		r := s.request(t, head(upgradeLines...))
		resp, err := http.ReadResponse(r.br, nil)
		return err == nil && resp.StatusCode == 101
	})
}

// counted sums up a counter of a registry.
func counted(tb testing.TB, r *prometheus.Registry, name string) float64 {
	tb.Helper()
	families, err := r.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
