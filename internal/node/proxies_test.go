package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fanfare/internal/config"
)

// TestTrustedProxies: behind a load balancer the limits per address are those of the users, not of the load balancer;
// and from anybody else the header changes nothing.
func TestTrustedProxies(t *testing.T) {
	limit := func(trusted ...string) func(*config.Config) {
		return func(c *config.Config) {
			c.TrustedProxies = trusted
			c.Limits.SocketsPerAddress = 1
			c.APIKeys = []config.APIKey{{Key: config.NewSecret("right")}}
		}
	}
	t.Run("trusted", func(t *testing.T) {
		n := start(t, limit("127.0.0.0/8"))
		for i, want := range []int{101, 101, 429} {
			if got := open(t, n, fmt.Sprintf("198.51.100.1, 203.0.113.%d", min(i, 1))); got != want {
				t.Errorf("socket %d: %d, want %d", i, got, want)
			}
		}
		for range 30 { // of somebody who guesses
			ask(t, n, "wrong", "203.0.113.5")
		}
		if got := ask(t, n, "wrong", "203.0.113.5"); got != http.StatusTooManyRequests {
			t.Errorf("who guesses gets %d", got)
		}
		if got := ask(t, n, "wrong", "203.0.113.6"); got != http.StatusUnauthorized {
			t.Errorf("somebody else behind the same load balancer gets %d", got)
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		n := start(t, limit())
		for i, want := range []int{101, 429} {
			if got := open(t, n, fmt.Sprintf("203.0.113.%d", i)); got != want {
				t.Errorf("socket %d: %d, want %d", i, got, want)
			}
		}
	})
}

// open opens a socket and leaves it open until the test ends; the answer's status.
func open(t *testing.T, n *Node, forwardedFor string) int {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	head := "GET /rt/demo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Forwarded-For: " + forwardedFor + "\r\n\r\n"
	if _, err := nc.Write([]byte(head)); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("HTTP/1.1 101"))
	if _, err := io.ReadFull(nc, line); err != nil {
		t.Fatal(err)
	}
	status := 0
	if _, err := fmt.Sscanf(string(line), "HTTP/1.1 %d", &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// ask makes a request with an API key; the answer's status.
func ask(t *testing.T, n *Node, key, forwardedFor string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "http://"+n.Addr()+"/api/v1/demo/events", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("X-Forwarded-For", forwardedFor)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}
