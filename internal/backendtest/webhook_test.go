package backendtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/config"
	"fanfare/internal/policy"
	"fanfare/internal/trigger"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hook is a back end that takes deliveries, when it is in the mood.
type hook struct {
	t *testing.T

	mu     sync.Mutex
	calls  int
	broken bool
	events []string
	seen   map[string]bool
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Error(err)
	}
	key, err := policy.DecodeSecret(hookSecret)
	if err != nil {
		h.t.Error(err)
	}
	at, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || r.Header.Get("Webhook-Signature") != trigger.Sign(key, r.Header.Get("Webhook-Id"), time.Unix(at, 0), body) {
		h.t.Errorf("the signature is wrong: %v", r.Header)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if h.broken {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var d struct {
		Server int              `json:"server"`
		Events []lifecycleEvent `json:"events"`
	}
	if err := json.Unmarshal(body, &d); err != nil || d.Server != 1 {
		h.t.Errorf("%s: %v", body, err)
	}
	for _, e := range d.Events {
		if !h.seen[e.Cursor] {
			h.seen[e.Cursor] = true
			h.events = append(h.events, e.Type)
		}
	}
}

func (h *hook) set(broken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = broken
}

func (h *hook) wait(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(20 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		h.mu.Lock()
		good := ok()
		h.mu.Unlock()
		if good {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("no %s: %v", what, h.events)
		}
	}
}

// TestLifecycleWebhook: every event comes in order, signed, past failures of the back end and a restart of the node.
func TestLifecycleWebhook(t *testing.T) {
	h := &hook{t: t, seen: map[string]bool{}, broken: true}
	backend := httptest.NewServer(h)
	defer backend.Close()
	data := t.TempDir()
	there := func(c *config.Config) {
		withLifecycle(c)
		c.DataDir, c.AdminToken = data, config.NewSecret("admin-token-of-a-test")
	}
	addr, stop := startNode(t, there)
	body := fmt.Sprintf(`{"lifecycle_webhooks":[{"url":%q,"secret":%q}]}`, backend.URL, hookSecret)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+addr+"/api:meta/workspace/1/realtime", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin-token-of-a-test")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || strings.Contains(string(answer), hookSecret) {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
	join(t, dial(t, addr), "room1")
	h.wait("repeated call", func() bool { return h.calls >= 2 })
	h.set(false)
	h.wait("first three", func() bool { return strings.Join(h.events, " ") == "connect join occupied" })
	h.set(true)
	stop()
	addr, _ = startNode(t, there)
	join(t, dial(t, addr), "room1")
	h.set(false)
	h.wait("rest", func() bool {
		all := strings.Join(h.events, " ")
		return strings.HasPrefix(all, "connect join occupied leave disconnect") && strings.Count(all, "join") >= 2
	})
}
