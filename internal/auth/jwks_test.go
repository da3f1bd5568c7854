package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/auth"
)

// running starts Run and has the end of the test wait for it. The first fetch has been asked for, not awaited.
func running(t testing.TB, v *auth.Verifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// keyServer is a fake network with a key server that can be changed, stopped and slowed down.
type keyServer struct {
	mu     sync.Mutex
	body   []byte
	header http.Header
	status int
	down   bool
	slow   time.Duration
	asked  atomic.Int32
}

func (s *keyServer) set(change func(*keyServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	s.mu.Lock()
	body, header, status, down, slow := s.body, s.header, s.status, s.down, s.slow
	s.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if down {
		return nil, errors.New("connection refused")
	}
	if status == 0 {
		status = 200
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
}

func (s *keyServer) options() auth.Options {
	return auth.Options{JWKSURL: "https://keys.example/jwks", HTTPClient: &http.Client{Transport: s}, Now: func() time.Time { return now }}
}

func expect(t testing.TB, v *auth.Verifier, token string, want error) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := v.Authenticate(t.Context(), token); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	return time.Since(start)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	first := signJWS(t, jose.RS256, testKeys()["rsa"], "1", payload)
	second := signJWS(t, jose.RS256, testKeys()["rsa2"], "2", payload)
	third := signJWS(t, jose.ES256, testKeys()["p256"], "3", payload)
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{body: jwks(t, jwk("rsa", "1")), slow: time.Second}
		v := newVerifier(t, s.options())
		stop := running(t, v)
		defer stop()
		if took := expect(t, v, first, nil); took != time.Second {
			t.Errorf("the first token waits for the first fetch, not %v", took)
		}
		if s.asked.Load() != 1 {
			t.Errorf("asked %d times", s.asked.Load())
		}

		// A new key: the first token with it has the keys fetched, all who come meanwhile wait for the same.
		time.Sleep(10 * time.Second)
		s.set(func(s *keyServer) { s.body = jwks(t, jwk("rsa", "1"), jwk("rsa2", "2")) })
		var wait sync.WaitGroup
		for range 500 {
			wait.Go(func() { expect(t, v, second, nil) })
			wait.Go(func() {
				if took := expect(t, v, first, nil); took != 0 {
					t.Errorf("a known key waited %v", took)
				}
			})
		}
		wait.Wait()
		if s.asked.Load() != 2 {
			t.Errorf("asked %d times", s.asked.Load())
		}

		// Unknown keys within the cooldown do not cause another request.
		for range 100 {
			if took := expect(t, v, third, auth.ErrUnknownKey); took != 0 {
				t.Errorf("waited %v", took)
			}
		}
		if s.asked.Load() != 2 {
			t.Errorf("asked %d times", s.asked.Load())
		}
		time.Sleep(6 * time.Second)
		expect(t, v, third, auth.ErrUnknownKey)
		if s.asked.Load() != 3 {
			t.Errorf("asked %d times", s.asked.Load())
		}

		// A key that is withdrawn stops working with the next fetch, by age at the latest.
		s.set(func(s *keyServer) { s.body = jwks(t, jwk("rsa2", "2")) })
		expect(t, v, first, nil)
		time.Sleep(16 * time.Minute)
		synctest.Wait()
		expect(t, v, second, nil)
		expect(t, v, first, auth.ErrUnknownKey)
	})
}

func TestOutage(t *testing.T) {
	t.Parallel()
	first := signJWS(t, jose.RS256, testKeys()["rsa"], "1", payload)
	second := signJWS(t, jose.RS256, testKeys()["rsa2"], "2", payload)
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{body: jwks(t, jwk("rsa", "1"))}
		o := s.options()
		reg := prometheus.NewRegistry()
		o.Registerer = reg
		v := newVerifier(t, o)
		stop := running(t, v)
		defer stop()
		expect(t, v, first, nil)

		// A day of outage, the worst kind: the server takes requests and says nothing.
		s.set(func(s *keyServer) { s.slow = time.Hour })
		before := s.asked.Load()
		for range 24 * 60 {
			time.Sleep(time.Minute)
			if took := expect(t, v, first, nil); took != 0 {
				t.Fatalf("a known key waited %v", took)
			}
		}
		if n := s.asked.Load() - before; n < 24*60/2 || n > 24*60+20 {
			t.Errorf("asked %d times in a day of outage", n)
		}
		if took := expect(t, v, second, auth.ErrKeysUnavailable); took > 6*time.Second {
			t.Errorf("an unknown key waited %v", took)
		}
		if value(t, reg, "fanfare_auth_jwks_refreshes_total", "error") < 100 || value(t, reg, "fanfare_auth_jwks_keys", "") != 1 {
			t.Error("metrics do not show the outage")
		}

		// Answers that are wrong do not replace the keys.
		for _, bad := range []string{"", "hello", "{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, `{"keys":[{"kty":"new"}]}`, strings.Repeat(" ", 2<<20)} {
			s.set(func(s *keyServer) { s.slow, s.body = 0, []byte(bad) })
			time.Sleep(2 * time.Minute)
			expect(t, v, first, nil)
		}
		s.set(func(s *keyServer) { s.body, s.status = jwks(t, jwk("rsa2", "2")), 500 })
		time.Sleep(2 * time.Minute)
		expect(t, v, first, nil)

		s.set(func(s *keyServer) { s.status = 0 })
		time.Sleep(2 * time.Minute)
		expect(t, v, second, nil)
		expect(t, v, first, auth.ErrUnknownKey)
	})
}

func TestCachedStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "data", "jwks.json")
	first := signJWS(t, jose.RS256, testKeys()["rsa"], "1", payload)
	second := signJWS(t, jose.RS256, testKeys()["rsa2"], "2", payload)
	s := &keyServer{body: jwks(t, jwk("rsa", "1"))}
	o := s.options()
	o.CacheFile = file
	v := newVerifier(t, o)
	stop := running(t, v)
	expect(t, v, first, nil)
	stop()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}

	// The next start, the key server being down: known keys work at once, even before Run.
	s.set(func(s *keyServer) { s.down = true })
	v = newVerifier(t, o)
	expect(t, v, first, nil)
	stop = running(t, v)
	expect(t, v, first, nil)
	expect(t, v, second, auth.ErrKeysUnavailable)
	stop()
	expect(t, v, first, nil)
	expect(t, v, second, auth.ErrKeysUnavailable)

	// Keys of another address, and files that are broken, are not used.
	elsewhere := o
	elsewhere.JWKSURL = "https://other.example/jwks"
	if v := newVerifier(t, elsewhere); v.Known() != 0 {
		t.Error("keys of another address are used")
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", string(good[:len(good)/2]), `{"url":"https://keys.example/jwks","set":{"keys":[]}}`} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		out := &logs{}
		broken := o
		broken.Logger = slog.New(slog.NewTextHandler(out, nil))
		if v := newVerifier(t, broken); v.Known() != 0 || !strings.Contains(out.String(), "level=WARN") {
			t.Errorf("%.20q: %d keys, log %s", bad, v.Known(), out)
		}
	}
	// A directory that cannot be written to costs a warning, not the tokens.
	s.set(func(s *keyServer) { s.down = false })
	readOnly := o
	readOnly.CacheFile = "/proc/fanfare/jwks.json"
	v = newVerifier(t, readOnly)
	running(t, v)
	expect(t, v, first, nil)
}

func TestColdStartDuringAnOutage(t *testing.T) {
	t.Parallel()
	token := signJWS(t, jose.RS256, testKeys()["rsa"], "1", payload)
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{body: jwks(t, jwk("rsa", "1")), down: true}
		v := newVerifier(t, s.options())
		// Asked before Run has started: waits, but not for ever.
		if took := expect(t, v, token, auth.ErrKeysUnavailable); took > 10*time.Second {
			t.Errorf("waited %v", took)
		}
		stop := running(t, v)
		defer stop()
		synctest.Wait()
		expect(t, v, token, auth.ErrKeysUnavailable)
		s.set(func(s *keyServer) { s.down = false })
		time.Sleep(10 * time.Second) // the retries come by themselves, quickly at first
		if v.Known() != 1 {
			t.Error("keys were not fetched")
		}
		expect(t, v, token, nil)
	})
}

func TestWaitersAreBoundedAndMayLeave(t *testing.T) {
	t.Parallel()
	token := signJWS(t, jose.RS256, testKeys()["rsa"], "1", payload)
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{slow: time.Hour}
		v := newVerifier(t, s.options())
		stop := running(t, v)
		defer stop()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		var canceled, unavailable atomic.Int32
		for range auth.MaxWaiters + 100 {
			wait.Go(func() {
				switch _, err := v.Authenticate(ctx, token); {
				case errors.Is(err, context.Canceled):
					canceled.Add(1)
				case errors.Is(err, auth.ErrKeysUnavailable):
					unavailable.Add(1)
				}
			})
		}
		synctest.Wait()
		cancel()
		wait.Wait()
		if canceled.Load() != auth.MaxWaiters || unavailable.Load() != 100 {
			t.Errorf("%d left, %d turned away", canceled.Load(), unavailable.Load())
		}
		// Those who wait when Run ends are released.
		time.Sleep(20 * time.Second)
		wait.Go(func() {
			if took := expect(t, v, token, auth.ErrKeysUnavailable); took > 5*time.Second {
				t.Errorf("waited %v", took)
			}
		})
		synctest.Wait()
		stop()
		wait.Wait()
	})
}

func TestKeysThatDoNotFit(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]jose.JSONWebKey{
		"for encryption": {Key: testKeys()["rsa"].Public(), KeyID: "1", Use: "enc"},
		"for PS256":      {Key: testKeys()["rsa"].Public(), KeyID: "1", Algorithm: "PS256"},
		"private":        {Key: testKeys()["rsa"], KeyID: "1"},
		"weak":           {Key: testKeys()["weak"].Public(), KeyID: "1"},
		"elliptic":       {Key: testKeys()["p256"].Public(), KeyID: "1"},
		"symmetric":      {Key: []byte(secret), KeyID: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &keyServer{body: jwks(t, key, jwk("ed", "other"))}
			v := newVerifier(t, s.options())
			running(t, v)
			expect(t, v, signWithKid(t, name == "weak"), auth.ErrUnknownKey)
			if name == "symmetric" {
				expect(t, v, hs256(`{"alg":"HS256","kid":"1"}`, payload, secret), auth.ErrInvalid)
			}
		})
	}
	t.Run("alg and use fit", func(t *testing.T) {
		t.Parallel()
		s := &keyServer{body: jwks(t, jose.JSONWebKey{Key: testKeys()["rsa"].Public(), KeyID: "1", Use: "sig", Algorithm: "RS256"})}
		v := newVerifier(t, s.options())
		running(t, v)
		expect(t, v, signWithKid(t, false), nil)
	})
	t.Run("key without a kid", func(t *testing.T) {
		t.Parallel()
		s := &keyServer{body: jwks(t, jwk("rsa", ""))}
		v := newVerifier(t, s.options())
		running(t, v)
		expect(t, v, signWithKid(t, false), nil)
	})
	t.Run("two keys of one kid", func(t *testing.T) {
		t.Parallel()
		s := &keyServer{body: jwks(t, jwk("rsa2", "1"), jwk("rsa", "1"))}
		v := newVerifier(t, s.options())
		running(t, v)
		expect(t, v, signWithKid(t, false), nil)
	})
	t.Run("no more than eight are tried", func(t *testing.T) {
		t.Parallel()
		var keys []jose.JSONWebKey
		for i := range 8 {
			keys = append(keys, jwk("rsa2", fmt.Sprint("x", i)))
		}
		s := &keyServer{body: jwks(t, append(keys, jwk("rsa", "1"))...)}
		v := newVerifier(t, s.options())
		running(t, v)
		expect(t, v, signJWS(t, jose.RS256, testKeys()["rsa"], "", payload), auth.ErrInvalid)
		expect(t, v, signWithKid(t, false), nil)
	})
	t.Run("too many keys", func(t *testing.T) {
		t.Parallel()
		var keys []jose.JSONWebKey
		for i := range 257 {
			keys = append(keys, jwk("ed", fmt.Sprint(i)))
		}
		s := &keyServer{body: jwks(t, keys...)}
		v := newVerifier(t, s.options())
		running(t, v)
		expect(t, v, signWithKid(t, false), auth.ErrKeysUnavailable)
	})
}

// signWithKid is RS256 with kid 1.
func signWithKid(t testing.TB, weak bool) string {
	t.Helper()
	if weak {
		return signWithHeader(t, "weak", map[jose.HeaderKey]any{"kid": "1"})
	}
	return signJWS(t, jose.RS256, testKeys()["rsa"], "1", payload)
}

// A real server, with the client that New makes.
func TestRealKeyServer(t *testing.T) {
	t.Parallel()
	token := signWithKid(t, false)
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(jwks(t, jwk("rsa", "1"))) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/flood", func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 100 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for path, want := range map[string]error{
		"/keys": nil, "/moved": nil, "/loop": auth.ErrKeysUnavailable, "/flood": auth.ErrKeysUnavailable,
		"/hangs": auth.ErrKeysUnavailable, "/nothing": auth.ErrKeysUnavailable,
	} {
		t.Run(path, func(t *testing.T) {
			client := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
			t.Cleanup(client.CloseIdleConnections)
			patience := 30 * time.Second
			if path == "/hangs" {
				patience = 300 * time.Millisecond
			}
			v := newVerifier(t, auth.Options{JWKSURL: s.URL + path, FetchTimeout: patience, HTTPClient: client})
			running(t, v)
			expect(t, v, token, want)
		})
	}
}

func TestNoDowngrade(t *testing.T) {
	t.Parallel()
	https := &http.Request{URL: mustURL("https://a.example/")}
	for target, ok := range map[string]bool{"https://b.example/": true, "http://a.example/": false, "file:///etc/passwd": false} {
		if err := auth.NoDowngrade(&http.Request{URL: mustURL(target)}, []*http.Request{https}); (err == nil) != ok {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 15 * time.Minute, "no-store": 15 * time.Minute, "max-age=x": 15 * time.Minute, "max-age=99999999999999": 15 * time.Minute,
		"public, max-age=600": 10 * time.Minute, `Max-Age="600"`: 10 * time.Minute,
		"max-age=0": time.Minute, "max-age=-5": time.Minute, "max-age=999999": time.Hour,
	} {
		if got := auth.Freshness(header); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}
