package trigger_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/freeport"
	"fanfare/internal/policy"
	"fanfare/internal/trigger"
	"fanfare/protocol"
)

// deadAddress is one that nobody listens on.
func deadAddress(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Addr() // not one that the servers of other tests are given
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + addr + "/"
}

// silent is a server that takes connections and says nothing.
func silent(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "http://" + l.Addr().String() + "/"
}

func hijack(t testing.TB, w http.ResponseWriter, text string) {
	t.Helper()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

func TestFailures(t *testing.T) {
	t.Parallel()
	var redirected atomic.Int32
	target := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		redirected.Add(1)
		_, _ = w.Write([]byte("true"))
	})
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	selfSigned := httptest.NewUnstartedServer(http.NotFoundHandler())
	selfSigned.Config.ErrorLog = log.New(io.Discard, "", 0)
	selfSigned.StartTLS()
	t.Cleanup(selfSigned.Close)
	handler := func(h http.HandlerFunc) string { return serve(t, h).URL }
	cases := map[string]struct{ url, want string }{
		"dead":   {deadAddress(t), "connect"},
		"silent": {silent(t), "timeout"},
		"slow header": {handler(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), "timeout"},
		"slow body": {handler(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write([]byte(`{"a":`))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), "timeout"},
		"closes at once":    {handler(func(w http.ResponseWriter, _ *http.Request) { hijack(t, w, "") }), "dropped"},
		"closes in headers": {handler(func(w http.ResponseWriter, _ *http.Request) { hijack(t, w, "HTTP/1.1 200 OK\r\nConte") }), "dropped"},
		"closes in the body": {handler(func(w http.ResponseWriter, _ *http.Request) {
			hijack(t, w, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ntrue")
		}), "dropped"},
		"not HTTP": {handler(func(w http.ResponseWriter, _ *http.Request) { hijack(t, w, "SSH-2.0-OpenSSH\r\n\r\n") }), "dropped"},
		"endless headers": {handler(func(w http.ResponseWriter, _ *http.Request) {
			hijack(t, w, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("a", 1<<20))
		}), "dropped"},
		"redirect": {handler(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) }), "redirect"},
		"permanent redirect": {handler(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target.URL, http.StatusPermanentRedirect)
		}), "redirect"},
		"https on plain HTTP": {strings.Replace(plain.URL, "http:", "https:", 1), "dropped"},
		"unknown issuer":      {selfSigned.URL, "dropped"},
		"unknown name":        {"http://webhook.invalid/", "connect"},
		"another scheme":      {"ftp://127.0.0.1/", "configuration"},
		"no address":          {"http://%zz/", "configuration"},
		"100 MB announced": {handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "104857600")
			flood(w)
		}), "too_large"},
		"100 MB in chunks": {handler(func(w http.ResponseWriter, _ *http.Request) { flood(w) }), "too_large"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, c.url, trigger.Join, c.want)
			check(t, c.url, trigger.Message, c.want)
		})
	}
	t.Cleanup(func() {
		if redirected.Load() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

// flood writes up to 100 MB, until the other side has had enough.
func flood(w io.Writer) {
	chunk := []byte(strings.Repeat(" ", 1<<20))
	for range 100 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestFloodIsCutOff(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	ended := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for range 1600 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	if _, v, _ := ask(t, f, trigger.Join, hook(s.URL)); v != trigger.Failed {
		t.Fatal(v)
	}
	<-ended
	if sent.Load() > 32<<20 { // what fits into the buffers of two sockets, at most
		t.Errorf("the server could write %d bytes", sent.Load())
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	h := hook(silent(t))
	h.OnFailure = policy.FailureAllow // nobody is there to be let in
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(20*time.Millisecond, cancel)
	defer stop.Stop()
	_, v, err := askContext(ctx, f, trigger.Join, h)
	if v != trigger.Failed || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v %v", v, err)
	}
	if f.counter(t, "join", "canceled") != 1 {
		t.Error("not counted as canceled")
	}

	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	if payload, v, err := askContext(short, f, trigger.Message, h); v != trigger.Passed || payload != `"original"` || err != nil {
		t.Errorf("a deadline of the caller is the trigger's: got %s %v %v", payload, v, err)
	}
}

func TestNothingSecretInLogsAndErrors(t *testing.T) {
	t.Parallel()
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, url := range []string{s.URL, deadAddress(t), "http://webhook.invalid"} {
		h := hook(strings.TrimSuffix(strings.Replace(url, "http://", "http://user:hunter2@", 1), "/") + "/hunter2?key=hunter2")
		h.Secret = policy.Secrets{vectorSecret}
		for range 6 {
			_, _, err := ask(t, f, trigger.Message, h)
			if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "original") {
				t.Errorf("error %v", err)
			}
			var wire *protocol.Error
			if !errors.As(err, &wire) || wire.Message != "Message was rejected." {
				t.Errorf("client is told %v", wire)
			}
		}
	}
	logs := f.logs.String()
	if strings.Contains(logs, "hunter2") || strings.Contains(logs, vectorSecret) || strings.Contains(logs, "original") {
		t.Errorf("logs tell too much:\n%s", logs)
	}
	if n := strings.Count(logs, "webhook failed"); n != 3 {
		t.Errorf("%d lines for three endpoints:\n%s", n, logs)
	}
}
