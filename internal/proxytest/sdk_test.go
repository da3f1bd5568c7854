package proxytest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/internal/labtest"
)

const modules = "../../test/conformance/node_modules"

// user is Xano's SDK in a process of its own.
type user struct {
	say    io.WriteCloser
	frames chan map[string]any
	end    func() error
}

// newUser starts one; with api it asks Xano first, as WeWeb's plugin does through a custom domain.
func newUser(t *testing.T, s *site, sdk, api string) *user {
	t.Helper()
	if _, err := os.Stat(filepath.Join(modules, sdk)); err != nil {
		t.Fatalf("%v: ./test.sh proxies installs it", err)
	}
	here, err := filepath.Abs(modules)
	if err != nil {
		t.Fatal(err)
	}
	ip, port, _ := net.SplitHostPort(s.front)
	rewrite := port
	if port == "443" {
		rewrite = ""
	}
	cmd := exec.CommandContext(t.Context(), labtest.Program(t, "node", "proxies"), "--experimental-websocket", "--no-warnings", "testdata/sdk.cjs")
	cmd.Env = append(cmd.Environ(), "MODULES="+filepath.Join(here, "x.js"), "NODE_EXTRA_CA_CERTS="+s.pki.ca, "BASE=https://"+ip, "HASH=demo", "SDK="+sdk, "API="+api, "REWRITE_PORT="+rewrite)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	say, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u := &user{say: say, frames: make(chan map[string]any, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(u.frames)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var frame map[string]any
			if json.Unmarshal(lines.Bytes(), &frame) == nil {
				u.frames <- frame
			}
		}
	}()
	u.end = func() error {
		_ = say.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: %s", err, complaints.String())
		}
		return nil
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Log(complaints.String())
		}
	})
	return u
}

// wait takes frames until one fits.
func (u *user) wait(t *testing.T, what string, fits func(map[string]any) bool) map[string]any {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case frame, open := <-u.frames:
			if !open {
				t.Fatalf("%s: ended: %v", what, u.end())
			}
			if fits(frame) {
				return frame
			}
		case <-deadline:
			t.Fatalf("%s: nothing", what)
		}
	}
}

func action(name string) func(map[string]any) bool {
	return func(f map[string]any) bool { return f["action"] == name }
}

// checkSDK lets two users with the stock SDK talk through the proxy, by wss on port 443.
func checkSDK(t *testing.T, s *site, sdk, api string) {
	a, b := newUser(t, s, sdk, api), newUser(t, s, sdk, api)
	if api != "" {
		got := a.wait(t, "Xano's answer", func(f map[string]any) bool { return f["api"] != nil })
		if text := fmt.Sprint(got["api"]); !strings.Contains(text, "from:weweb") || !strings.Contains(text, "path:/api:AbC123/echo") {
			t.Errorf("Xano answered %s", text)
		}
	}
	a.wait(t, "presence of a", action("presence_full"))
	b.wait(t, "presence of b", action("presence_full"))
	_, _ = io.WriteString(a.say, `{"through":"a proxy"}`+"\n")
	b.wait(t, "the message", func(f map[string]any) bool {
		payload, _ := f["payload"].(map[string]any)
		return f["action"] == "message" && payload["through"] == "a proxy"
	})
	for _, u := range []*user{a, b} {
		if err := u.end(); err != nil {
			t.Error(err)
		}
	}
}
