package backendtest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fanfare/internal/freeport"
	"fanfare/internal/natstest"
)

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// TestGatewayKilled: two gateways over one broker; one is killed with everybody on it. The record says so once, and
// replaying it gives what presence says.
func TestGatewayKilled(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "fanfare")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/fanfare")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	settings := filepath.Join(dir, "settings.json")
	rules := `{"servers":[{"id":1,"name":"d","enabled":true,"hash":"demo","channels":[{"id":1,"pattern":"room","wildcard":true,"enabled":true,` +
		`"anonymous_clients":true,"presence":true,"history":0}]}]}`
	if err := os.WriteFile(settings, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	nats := natstest.Single(t)
	serve := func() (addr string, kill func()) {
		t.Helper()
		addr = freeAddr(t)
		cmd := exec.CommandContext(t.Context(), bin, "serve")
		cmd.Env = append(os.Environ(), "FANFARE_LISTEN="+addr, "FANFARE_OPS_LISTEN="+freeAddr(t), "FANFARE_NATS_URLS="+nats.URL(),
			"FANFARE_NATS_REPLICAS=1", "FANFARE_SETTINGS_FILE="+settings, "FANFARE_API_KEYS="+apiKey, "FANFARE_LIFECYCLE_RETENTION=1h",
			"FANFARE_DATA_DIR="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		natstest.Eventually(t, "a gateway", func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/api/v1/demo/channels", nil)
			if err != nil {
				return false
			}
			req.Header.Set("Authorization", "Bearer "+apiKey)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		return addr, func() { _ = cmd.Process.Kill() }
	}
	one, _ := serve()
	two, kill := serve()
	for i := range 6 {
		addr := one
		if i%2 == 1 {
			addr = two
		}
		c := dial(t, addr)
		join(t, c, fmt.Sprint("room/", i/2))
		if i == 4 {
			join(t, c, "room/0")
		}
	}
	for range 20 {
		join(t, dial(t, two), "room/crowd")
	}
	members, lost, after := map[string]bool{}, map[string]int{}, ""
	killed := false
	deadline := time.Now().Add(90 * time.Second)
	for len(lost) < 23 && time.Now().Before(deadline) {
		if len(members) == 27 && !killed { // what was not written yet would not be missed
			kill()
			killed = true
		}
		var p lifecyclePage
		if status := call(t, one, http.MethodGet, "/lifecycle?limit=10&wait=1&after="+after, nil, &p); status != http.StatusOK {
			t.Fatalf("%d %s", status, p.Code)
		}
		for _, e := range p.Items {
			key := e.Channel + " " + e.Client.Socket
			switch e.Type {
			case "join":
				members[key] = true
			case "leave":
				if !members[key] {
					t.Errorf("leave of nobody: %+v", e)
				}
				delete(members, key)
				if e.Reason == "gateway_lost" {
					lost[key]++
				}
			}
		}
		if p.Next != nil {
			after = *p.Next
		}
	}
	if len(lost) != 23 {
		t.Errorf("%d were lost with their gateway, want 23", len(lost))
	}
	for key, n := range lost {
		if n != 1 {
			t.Errorf("%s was lost %d times", key, n)
		}
	}
	// Those that were on the other gateway, and in presence nobody else. Clients of the dead one try for ever.
	there := map[string]bool{}
	for _, room := range []string{"0", "1", "2", "crowd"} {
		var p struct {
			Items []struct {
				Socket string `json:"socketId"`
			} `json:"items"`
		}
		if status := call(t, one, http.MethodGet, "/channels/room%2F"+room+"/presence", nil, &p); status != http.StatusOK {
			t.Fatal(status)
		}
		for _, m := range p.Items {
			there["room/"+room+" "+m.Socket] = true
		}
	}
	if len(members) != 4 || fmt.Sprint(members) != fmt.Sprint(there) {
		t.Errorf("the record says %v\npresence says   %v", members, there)
	}
}
