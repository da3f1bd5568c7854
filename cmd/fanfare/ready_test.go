package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestReady(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL)
		}
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "not ready\nfail broker: no leader\n")
			return
		}
		fmt.Fprint(w, "ready\n")
	}))
	defer server.Close()
	run := func(args ...string) (code int, out, errs string) {
		var stdout, stderr bytes.Buffer
		p := &program{args: append([]string{"ready"}, args...), stdout: &stdout, stderr: &stderr}
		return p.run(t.Context()), stdout.String(), stderr.String()
	}
	if code, out, errs := run("--url", server.URL); code != exitRuntime || !strings.Contains(out, "fail broker: no leader") || errs != "fanfare: not ready\n" {
		t.Errorf("not ready: %d %q %q", code, out, errs)
	}
	if code, out, _ := run("--url", server.URL+"/", "--wait", "1m"); code != exitOK || out != "ready\n" || asked.Load() != 3 {
		t.Errorf("ready: %d %q after %d", code, out, asked.Load())
	}
	server.Close()
	if code, _, errs := run("--url", server.URL); code != exitRuntime || !strings.Contains(errs, "no server at") {
		t.Errorf("nobody there: %d %q", code, errs)
	}
	if code, _, _ := run("--url", "://"); code != exitUsage {
		t.Errorf("no URL: %d", code)
	}
}
