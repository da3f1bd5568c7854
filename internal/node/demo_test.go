package node

import (
	"encoding/json"
	"net/http"
	"testing"

	"fanfare/internal/config"
)

// TestDemoServerRemoved: `fanfare dev` starts again when somebody has removed the demo server, and does not bring it back.
func TestDemoServerRemoved(t *testing.T) {
	dir := t.TempDir()
	change := func(c *config.Config) {
		c.DataDir, c.AdminToken = dir, config.NewSecret("admin-token-0123456789")
	}
	call := func(t *testing.T, n *Node, method, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer admin-token-0123456789")
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		return a.StatusCode
	}
	t.Run("removed", func(t *testing.T) {
		n := start(t, change)
		if status := call(t, n, http.MethodDelete, "/api:meta/workspace/1"); status/100 != 2 {
			t.Fatal(status)
		}
	})
	t.Run("again", func(t *testing.T) {
		n := start(t, change)
		if status := call(t, n, http.MethodGet, "/api:meta/workspace/1/realtime"); status != http.StatusNotFound {
			t.Error(status)
		}
	})
}

// TestDemoPage: `fanfare dev` has the demo and leads to it, `fanfare serve` has it where it is switched on. Errors are
// as everywhere.
func TestDemoPage(t *testing.T) {
	ask := func(t *testing.T, n *Node, method, path string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Body.Close() }()
		var e struct{ Code string }
		if a.Header.Get("Content-Type") == "application/json" {
			if err := json.NewDecoder(a.Body).Decode(&e); err != nil {
				t.Errorf("%s %s: %v", method, path, err)
			}
		}
		return a, e.Code
	}
	for name, c := range map[string]struct {
		dev, demo        bool
		root, bare, page int
	}{
		"dev":                    {true, false, http.StatusFound, http.StatusFound, http.StatusOK},
		"serve":                  {false, false, http.StatusNotFound, http.StatusNotFound, http.StatusNotFound},
		"serve with it":          {false, true, http.StatusNotFound, http.StatusFound, http.StatusOK},
		"dev that is told twice": {true, true, http.StatusFound, http.StatusFound, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			n := startAs(t, c.dev, func(cfg *config.Config) { cfg.Demo = c.demo })
			for path, want := range map[string]int{"/": c.root, "/demo": c.bare, "/demo/": c.page, "/client.js": http.StatusOK, "/console": http.StatusFound} {
				if a, _ := ask(t, n, http.MethodGet, path); a.StatusCode != want {
					t.Errorf("GET %s: %d, want %d", path, a.StatusCode, want)
				}
				status, code, allow := http.StatusMethodNotAllowed, "method_not_allowed", "GET, HEAD"
				if want == http.StatusNotFound {
					status, code, allow = http.StatusNotFound, "not_found", ""
				}
				if a, got := ask(t, n, http.MethodPost, path); a.StatusCode != status || got != code || a.Header.Get("Allow") != allow {
					t.Errorf("POST %s: %d %s, Allow: %s", path, a.StatusCode, got, a.Header.Get("Allow"))
				}
			}
			for _, path := range []string{"/demo/nothing", "/console/nothing"} {
				if a, got := ask(t, n, http.MethodGet, path); a.StatusCode != http.StatusNotFound || got != "not_found" {
					t.Errorf("GET %s: %d %s", path, a.StatusCode, got)
				}
			}
		})
	}
}
