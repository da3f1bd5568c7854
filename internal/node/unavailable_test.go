package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"fanfare/internal/api"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

// TestBrokerDown: what needs the broker is answered as unavailable while it is down, and in words that fit a read.
func TestBrokerDown(t *testing.T) {
	single := natstest.Single(t)
	there := func(c *config.Config) {
		c.NATS.URLs = []config.Address{config.NewAddress(single.URL())}
		c.APIKeys = []config.APIKey{{Key: config.NewSecret("right")}}
		c.Lifecycle.Retention = time.Hour
	}
	n := start(t, there)
	start(t, there)
	natstest.Eventually(t, "the other gateway", func() bool { return len(n.peers.others(n.id)) == 1 })
	single.Stop()
	t.Cleanup(func() { single.Start(t) }) // for the gateways to end in order
	var group sync.WaitGroup
	defer group.Wait()
	for _, what := range []string{
		"GET /channels", "GET /channels/room1/history", "GET /channels/room1/presence", "GET /lifecycle",
		`POST /disconnect {"dbo_id":1,"row_id":1}`,
	} {
		group.Go(func() {
			method, rest, _ := strings.Cut(what, " ")
			path, body, _ := strings.Cut(rest, " ")
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+"/api/v1/demo"+path, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer right")
			a, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = a.Body.Close() }()
			var e struct{ Code, Message string }
			if err := json.NewDecoder(a.Body).Decode(&e); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if a.StatusCode != http.StatusServiceUnavailable || e.Code != "unavailable" || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %+v, Retry-After %q", what, a.StatusCode, e, a.Header.Get("Retry-After"))
			}
			if strings.Contains(e.Message, "sent") {
				t.Errorf("%s: %s", what, e.Message)
			}
		})
	}
}

// TestJoinWhileBrokerAway: who opens a channel while the broker is away gets it when that is back, without asking again, which
// no stock client does.
func TestJoinWhileBrokerAway(t *testing.T) {
	single := natstest.Single(t)
	n := start(t, func(c *config.Config) { c.NATS.URLs = []config.Address{config.NewAddress(single.URL())} })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	single.Stop()
	natstest.Eventually(t, "the cut", func() bool { up, _ := n.client.Connected(); return !up })
	socket, _, err := websocket.Dial(ctx, "ws://"+n.Addr()+"/rt/demo", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	if err := socket.Write(ctx, websocket.MessageText, []byte(`{"action":"join","options":{"channel":"room1"},"payload":{"presence":true,"history":true}}`)); err != nil {
		t.Fatal(err)
	}
	<-time.After(7 * time.Second) // more than one attempt
	single.Start(t)
	for _, want := range []string{"join", "presence_full", "history"} {
		_, text, err := socket.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var f struct{ Action string }
		if err := json.Unmarshal(text, &f); err != nil || f.Action != want {
			t.Fatalf("got %s, want %s: %v", text, want, err)
		}
	}
}

// TestUnavailable: that a client went away is not the broker's fault.
func TestUnavailable(t *testing.T) {
	down := errors.New("down")
	ctx, cancel := context.WithCancel(t.Context())
	if err := unavailable(ctx, down); !errors.Is(err, api.ErrUnavailable) || !errors.Is(err, down) {
		t.Error(err)
	}
	cancel()
	if err := unavailable(ctx, down); errors.Is(err, api.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
