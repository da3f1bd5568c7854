package backendtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPublisher runs the example that publishes with curl.
func TestPublisher(t *testing.T) {
	addr, _ := startNode(t, nil)
	cmd := exec.CommandContext(t.Context(), "sh", "../../examples/publisher/publish.sh")
	cmd.Env = append(os.Environ(), "FANFARE_URL=http://"+addr, "API_KEY="+apiKey, "HASH=demo")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"id":"order-7-sent"`, `"duplicate":true`, `"stored":false`, `"more":false`, `"state":"sent"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output has no %s:\n%s", want, out)
		}
	}
	if n := strings.Count(string(out), `"state":"sent"`); n != 1 {
		t.Errorf("the order was stored %d times", n)
	}
}
