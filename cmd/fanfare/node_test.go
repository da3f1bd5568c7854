package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests start real nodes, in process, on free ports of loopback.

// loopback is the environment of a node that disturbs no other.
func loopback(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"FANFARE_LISTEN=127.0.0.1:0", "FANFARE_OPS_LISTEN=127.0.0.1:0", "FANFARE_DATA_DIR=" + filepath.Join(t.TempDir(), "data"),
		"FANFARE_DRAIN=200ms", "FANFARE_LOG_FORMAT=json", "FANFARE_LOG_LEVEL=info",
	}, more...)
}

// running is a command that was started.
type running struct {
	*shell
	code chan int
}

func start(t *testing.T, args []string, env []string) *running {
	t.Helper()
	r := &running{newShell(args, env...), make(chan int, 1)}
	go func() { r.code <- r.run(context.Background()) }()
	t.Cleanup(func() {
		select {
		case r.signals <- syscall.SIGTERM:
		default:
		}
		select {
		case <-r.code:
		case <-time.After(time.Minute):
			t.Errorf("still running\n%s", &r.err)
		}
	})
	return r
}

// stop sends a signal and gives the exit code.
func (r *running) stop(t *testing.T) int {
	t.Helper()
	r.signals <- syscall.SIGTERM
	return r.ended(t)
}

func (r *running) ended(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.code:
		r.code <- code // for the clean-up
		return code
	case <-time.After(time.Minute):
		t.Fatalf("still running\n%s", &r.err)
		return 0
	}
}

// find waits until what the command printed matches, and gives the first group.
func (r *running) find(t *testing.T, out *buffer, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if m := expression.FindStringSubmatch(out.String()); m != nil {
			return m[1]
		}
		if len(r.code) > 0 {
			break
		}
	}
	t.Fatalf("%s not found in\n%s\n%s", pattern, &r.out, &r.err)
	return ""
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// eventually gets url until it is answered with 200: a node says 503 while it starts.
func eventually(t *testing.T, url, token string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		code, body := get(t, url, token)
		if code == http.StatusOK {
			return body
		}
		if code != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("%s: %d %s", url, code, body)
		}
	}
}

func TestDev(t *testing.T) {
	env := loopback(t)
	r := start(t, []string{"dev"}, env)
	host := r.find(t, &r.out, `socket +ws://([0-9.:]+)/rt/demo`)
	token := r.find(t, &r.out, `admin token +(\S+)`)
	key := r.find(t, &r.out, `API key +(\S+)`)
	r.find(t, &r.out, `(Ctrl-C)`)

	var realtime struct {
		Enabled  bool
		Hash     string
		Channels []struct {
			Pattern            string
			Wildcard, Presence bool
			Anonymous          bool `json:"anonymous_clients"`
			Public             bool `json:"client_public_messaging"`
			Private            bool `json:"client_private_messaging"`
			History            int
		}
	}
	body := eventually(t, "http://"+host+"/api:meta/workspace/1/realtime", token)
	if err := json.Unmarshal([]byte(body), &realtime); err != nil {
		t.Fatal(err)
	}
	if !realtime.Enabled || realtime.Hash != "demo" || len(realtime.Channels) != 2 {
		t.Fatalf("demo server: %s", body)
	}
	for i, want := range []string{"room1", "chat"} {
		c := realtime.Channels[i]
		if c.Pattern != want || c.Wildcard != (i == 1) || !c.Presence || !c.Anonymous || !c.Public || !c.Private || c.History != 100 {
			t.Errorf("channel %d: %+v", i, c)
		}
	}
	eventually(t, "http://"+host+"/api/v1/demo/channels", key)
	if page := eventually(t, r.find(t, &r.out, `demo page +(\S+)`), ""); !strings.Contains(page, "<html") {
		t.Errorf("the demo page: %.200s", page)
	}
	if code, _ := get(t, "http://"+host+"/api:meta/workspace/1/realtime", "wrong"); code != http.StatusUnauthorized {
		t.Errorf("a wrong token gets %d", code)
	}
	if log := r.err.String(); strings.Contains(log, token) || strings.Contains(log, key) {
		t.Errorf("a secret is in the log: %s", log)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, &r.err)
	}

	// Once more on the same data: what was made stays, and nothing is made twice.
	again := start(t, []string{"dev"}, env)
	host = again.find(t, &again.out, `socket +ws://([0-9.:]+)/rt/demo`)
	token = again.find(t, &again.out, `admin token +(\S+)`)
	if now := eventually(t, "http://"+host+"/api:meta/workspace/1/realtime", token); now != body {
		t.Errorf("after a restart: %s, before: %s", now, body)
	}
	if code := again.stop(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestServe(t *testing.T) {
	env := loopback(t, "FANFARE_BROKER_SYNC=1s", "FANFARE_ADMIN_TOKEN=s3cret-admin", "FANFARE_AUTH_JWT_SECRET=s3cret-jwt", "FANFARE_LOG_LEVEL=debug")
	r := start(t, []string{"serve"}, env)
	ops := r.find(t, &r.err, `"operations listener is up".*"addr":"([0-9.:]+)"`)
	ready := eventually(t, "http://"+ops+"/readyz", "")
	if !strings.HasPrefix(ready, "ready\n") || !strings.Contains(ready, "broker.sync") {
		t.Errorf("readyz: %s", ready)
	}
	if _, health := get(t, "http://"+ops+"/healthz", ""); health != "ok\n" {
		t.Errorf("healthz: %q", health)
	}
	metrics := eventually(t, "http://"+ops+"/metrics", "")
	if !strings.Contains(metrics, "fanfare_build_info{") {
		t.Error("no build info")
	}
	if r.out.String() != "" {
		t.Errorf("serve prints %q", r.out.String())
	}

	// The data directory belongs to one process.
	second := start(t, []string{"serve"}, env)
	if code := second.ended(t); code != exitRuntime || !strings.Contains(second.err.String(), strings.TrimPrefix(env[2], "FANFARE_DATA_DIR=")) {
		t.Errorf("a second process on the same data: %d\n%s", code, &second.err)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(r.err.String(), "s3cret") {
		t.Errorf("a secret is in the log:\n%s", &r.err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(r.err.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not a JSON log line: %s", line)
		}
	}
}

func TestServeFailsAtOnce(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ env, text string }{
		{"FANFARE_LISTEN=" + addr, addr},
		{"FANFARE_OPS_LISTEN=" + addr, addr},
		{"FANFARE_DATA_DIR=" + filepath.Join(file, "sub"), file},
	} {
		t.Run(test.env, func(t *testing.T) {
			r := start(t, []string{"serve"}, loopback(t, test.env))
			if code := r.ended(t); code != exitRuntime {
				t.Errorf("exit code %d", code)
			}
			last := ""
			for line := range strings.SplitSeq(r.err.String(), "\n") {
				if strings.HasPrefix(line, "fanfare: ") {
					last = line
				}
			}
			if !strings.Contains(last, test.text) {
				t.Errorf("the last line does not name %s:\n%s", test.text, &r.err)
			}
		})
	}
}

// A settings file makes dev read-only, and must not be mixed up with the demo.
func TestDevWithSettingsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("servers:\n- {id: 1, name: mine, enabled: true, hash: mine, channels: [{pattern: a}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, []string{"dev", "--settings-file", file}, loopback(t))
	host := r.find(t, &r.out, `socket +ws://([0-9.:]+)/rt/{hash}`)
	token := r.find(t, &r.out, `admin token +(\S+)`)
	if body := eventually(t, fmt.Sprintf("http://%s/api:meta/workspace/1/realtime", host), token); !strings.Contains(body, `"mine"`) {
		t.Error(body)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, &r.err)
	}
}
