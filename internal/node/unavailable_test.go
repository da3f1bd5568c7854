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
