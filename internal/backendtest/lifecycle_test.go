package backendtest

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/internal/config"
)

type lifecycleEvent struct {
	Cursor  string `json:"cursor"`
	Type    string `json:"type"`
	Channel string `json:"channel"`
	Reason  string `json:"reason"`
	Client  struct {
		Socket string `json:"socketId"`
	} `json:"client"`
}

type lifecyclePage struct {
	Items []lifecycleEvent `json:"items"`
	Next  *string          `json:"next"`
	Code  string           `json:"code"`
}

func withLifecycle(c *config.Config) { c.Lifecycle.Retention = time.Hour }

// follow reads until it has n events.
func follow(t *testing.T, addr string, n int) (all []lifecycleEvent) {
	t.Helper()
	after := ""
	for deadline := time.Now().Add(20 * time.Second); len(all) < n && time.Now().Before(deadline); {
		var p lifecyclePage
		if status := call(t, addr, http.MethodGet, "/lifecycle?limit=2&wait=1&after="+after, nil, &p); status != http.StatusOK {
			t.Fatalf("%d %s", status, p.Code)
		}
		all = append(all, p.Items...)
		if p.Next != nil {
			after = *p.Next
		}
	}
	return all
}

// TestLifecycle: sockets come and go, and a back end reads why.
func TestLifecycle(t *testing.T) {
	addr, _ := startNode(t, withLifecycle)
	first, second := dial(t, addr), dial(t, addr)
	a := join(t, first, "room1")
	b := join(t, second, "room1")
	a.Leave()
	if status := call(t, addr, http.MethodPost, "/disconnect", map[string]string{"socketId": string(b.Self().Socket)}, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	_ = first.Close()
	seen := map[string]int{}
	for _, e := range follow(t, addr, 10) {
		seen[e.Type+" "+e.Channel+" "+e.Reason]++
	}
	want := map[string]int{
		"connect  ": 2, "join room1 ": 2, "occupied room1 ": 1, "leave room1 left": 1, "leave room1 disconnected": 1,
		"disconnect  disconnected": 1, "disconnect  closed": 1, "vacated room1 ": 1,
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("seen %v\nwant %v", seen, want)
	}
}

// TestLifecycleStream: the same as Server-Sent Events, and with a cursor of before a restart.
func TestLifecycleStream(t *testing.T) {
	data := t.TempDir()
	there := func(c *config.Config) {
		withLifecycle(c)
		c.DataDir = data
	}
	addr, stop := startNode(t, there)
	join(t, dial(t, addr), "room1")
	events := follow(t, addr, 3)
	if len(events) != 3 {
		t.Fatalf("%+v", events)
	}
	stop()
	addr, _ = startNode(t, there)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/api/v1/demo/lifecycle", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", events[2].Cursor)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var types []string
	lines := bufio.NewScanner(resp.Body)
	for len(types) < 3 && lines.Scan() {
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			types = append(types, kind)
		}
	}
	// The node went in order: its socket was closed, and the next run says that the channel is empty.
	if got := strings.Join(types, " "); got != "leave disconnect vacated" {
		t.Errorf("after the cursor came %s", got)
	}
}

// TestLifecycleOff: without a retention there is nothing to read.
func TestLifecycleOff(t *testing.T) {
	addr, _ := startNode(t, nil)
	var p lifecyclePage
	if status := call(t, addr, http.MethodGet, "/lifecycle", nil, &p); status != http.StatusNotFound || p.Code != "lifecycle_off" {
		t.Errorf("%d %s", status, p.Code)
	}
}
