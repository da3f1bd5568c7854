package trigger_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/internal/policy"
	"fanfare/internal/trigger"
	"fanfare/protocol"
)

// The programs of examples/, run as a reader would, know two secrets but not this one.
const strangerSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"

// start runs a webhook and gives its address.
func start(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LISTEN=127.0.0.1:0", "WEBHOOK_SECRET="+vectorSecret+" "+otherSecret)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("said %q: %v", line, err)
	}
	return url
}

func TestWebhookGo(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "webhook")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = "../../examples/webhook-go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testWebhook(t, start(t, bin))
}

func TestWebhookNode(t *testing.T) {
	t.Parallel()
	testWebhook(t, start(t, "node", "../../examples/webhook-node/webhook.mjs"))
}

func testWebhook(t *testing.T, url string) {
	t.Helper()
	caller := newCaller(t, trigger.Options{AllowPrivate: true})
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	rule := func(secrets ...string) []policy.Trigger {
		return []policy.Trigger{{
			URL: url, Actions: policy.TriggerActions{Join: true, Message: true}, Secret: secrets, TimeoutMS: 10_000,
		}}
	}

	for extras, want := range map[string]trigger.Verdict{``: trigger.Passed, `{"name":"Jo"}`: trigger.Passed, `{"banned":true}`: trigger.Rejected} {
		in := trigger.Input{Channel: "chat/1", Identity: protocol.Identity{Extras: json.RawMessage(extras)}, Payload: json.RawMessage(`{"history":true,"presence":true}`)}
		if got, err := caller.Join(t.Context(), rule(vectorSecret), in); got != want {
			t.Errorf("join of %s: %v %v", extras, got, err)
		}
	}

	for payload, want := range map[string]string{
		`"hello"`:                       `"hello"`,
		`"Heck, that darn cat"`:         `"****, that **** cat"`,
		`{"text":"darn","id":7}`:        `{"id":7,"text":"****"}`,
		`{"image":"x"}`:                 `{"image":"x"}`,
		`[1,2]`:                         `[1,2]`,
		`"ü <b> & 😀"`:                   `"ü <b> & 😀"`,
		`"BUY NOW cheap"`:               ``,
		`{"text":"buy now","kind":"a"}`: ``,
		`null`:                          ``,
	} {
		got, verdict, err := caller.Message(t.Context(), rule(vectorSecret), trigger.Input{Channel: "chat/1", Payload: json.RawMessage(payload)})
		if (verdict == trigger.Passed) != (want != "") || verdict == trigger.Failed || want != "" && !sameJSON(t, got, want) {
			t.Errorf("message %s: got %s %v %v", payload, got, verdict, err)
		}
	}

	in := trigger.Input{Channel: "chat/1", Payload: json.RawMessage(`1`)}
	for name, c := range map[string]struct {
		secrets []string
		want    trigger.Verdict
	}{
		"old secret":        {[]string{otherSecret}, trigger.Passed},
		"while replacing":   {[]string{strangerSecret, vectorSecret}, trigger.Passed},
		"stranger's secret": {[]string{strangerSecret}, trigger.Failed},
		"not signed":        {nil, trigger.Failed},
	} {
		if _, got, err := caller.Message(t.Context(), rule(c.secrets...), in); got != c.want {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}

	body := []byte(`{"action":"message","channel":"c","client":{"extras":{}},"payload":1}`)
	for name, c := range map[string]struct {
		at     time.Time
		change func(http.Header)
		body   []byte
		want   int
	}{
		"as it should be": {time.Now(), func(http.Header) {}, body, 200},
		"ten minutes old": {time.Now().Add(-10 * time.Minute), func(http.Header) {}, body, 401},
		"from the future": {time.Now().Add(10 * time.Minute), func(http.Header) {}, body, 401},
		"another id":      {time.Now(), func(h http.Header) { h.Set("webhook-id", "msg_2") }, body, 401},
		"no id":           {time.Now(), func(h http.Header) { h.Del("webhook-id") }, body, 401},
		"no time":         {time.Now(), func(h http.Header) { h.Del("webhook-timestamp") }, body, 401},
		"time is a word":  {time.Now(), func(h http.Header) { h.Set("webhook-timestamp", "now") }, body, 401},
		"another version": {time.Now(), func(h http.Header) {
			h.Set("webhook-signature", strings.Replace(h.Get("webhook-signature"), "v1", "v2", 1))
		}, body, 401},
		"changed body":    {time.Now(), func(http.Header) {}, bytes.Replace(body, []byte("1}"), []byte("2}"), 1), 401},
		"more than 1 MiB": {time.Now(), func(http.Header) {}, bytes.Repeat([]byte(" "), 2<<20), 413},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if err := trigger.SignRequest(req.Header, policy.Secrets{vectorSecret}, "msg_1", c.at, body); err != nil {
			t.Fatal(err)
		}
		c.change(req.Header)
		resp, err := client.Do(req)
		if err != nil {
			if c.want == 413 {
				continue // it may hang up instead of reading on
			}
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
}

func sameJSON(t *testing.T, got []byte, want string) bool {
	t.Helper()
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
