package node

import (
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
