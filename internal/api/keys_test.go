package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestScopes(t *testing.T) {
	b := newBench(t, func(o *Options) {
		o.APIKeys = []string{"all", "all2:all", "pub:publish", "read:read", "adm:admin", "one:publish@1", "two:read@2", "adm2:admin@2", "with:colon:publish"}
	})
	b.admin(http.MethodPost, "", `{"hash":"second","enabled":true,"channels":[{"pattern":"room1"}]}`).want(t, http.StatusCreated, "")
	const ok, no, bad = http.StatusOK, http.StatusForbidden, http.StatusUnauthorized
	for _, c := range []struct {
		key                                             string
		publish, read, disconnect, settings, otherSends int
	}{
		{"all", ok, ok, ok, no, ok},
		{"all2", ok, ok, ok, no, ok},
		{"pub", ok, no, no, no, ok},
		{"read", no, ok, no, no, no},
		{"adm", ok, ok, ok, ok, ok},
		{"one", ok, no, no, no, no},
		{"two", no, no, no, no, no},
		{"adm2", no, no, no, no, ok},
		{"with:colon", ok, no, no, no, ok},
		{adminToken, ok, ok, ok, ok, ok},
		{"wrong", bad, bad, bad, bad, bad},
		{"all:all", bad, bad, bad, bad, bad},
		{"pub:publish", bad, bad, bad, bad, bad},
		{"al", bad, bad, bad, bad, bad},
	} {
		t.Run(c.key, func(t *testing.T) {
			for _, x := range []struct {
				want               int
				method, path, body string
			}{
				{c.publish, http.MethodPost, "/api/v1/demo/events", `{"channel":"room1","data":1}`},
				{c.publish, http.MethodPost, "/api/v1/demo/events/batch", `{"events":[]}`},
				{c.read, http.MethodGet, "/api/v1/demo/channels", ""},
				{c.read, http.MethodGet, "/api/v1/demo/channels/room1/presence", ""},
				{c.read, http.MethodGet, "/api/v1/demo/channels/room1/history", ""},
				{c.read, http.MethodGet, "/api/v1/demo/explain?channel=room1", ""},
				{c.disconnect, http.MethodPost, "/api/v1/demo/disconnect", `{"socketId":"x"}`},
				{c.settings, http.MethodGet, "/api:meta/workspace/1/realtime", ""},
				{c.otherSends, http.MethodPost, "/api/v1/second/events", `{"channel":"room1","data":1}`},
			} {
				r := b.call(x.method, x.path, c.key, x.body)
				if r.status != x.want {
					t.Errorf("%s %s answers %d %s, want %d", x.method, x.path, r.status, r.body, x.want)
				}
				if r.status == bad && r.header.Get("WWW-Authenticate") == "" {
					t.Error("401 without WWW-Authenticate")
				}
			}
			b.api.throttle.seen = make(map[addr]*failures) // the next key is somebody else's
		})
	}
	// A key for one workspace sees that one only, and makes and removes none.
	b.call(http.MethodGet, "/api:meta/workspace", "adm2", "").want(t, ok, "", `{"items":[{"id":2,`)
	b.call(http.MethodPut, "/api:meta/workspace/2", "adm2", `{"name":"x"}`).want(t, ok, "")
	b.call(http.MethodPost, "/api:meta/workspace", "adm2", `{}`).want(t, no, "insufficient_scope")
	b.call(http.MethodDelete, "/api:meta/workspace/2", "adm2", ``).want(t, no, "insufficient_scope")
}

func TestOff(t *testing.T) {
	none := newBench(t, func(o *Options) { o.AdminToken, o.APIKeys = "", nil })
	for _, key := range []string{"", "x"} {
		none.call(http.MethodGet, "/api:meta/workspace", key, "").want(t, http.StatusForbidden, "admin_api_off", "FANFARE_ADMIN_TOKEN")
		none.call(http.MethodGet, "/api/v1/demo/channels", key, "").want(t, http.StatusForbidden, "api_off", "FANFARE_API_KEYS")
	}
	none.call(http.MethodGet, "/api/openapi.yaml", "", "").want(t, http.StatusOK, "")

	keys := newBench(t, func(o *Options) { o.AdminToken = "" })
	keys.call(http.MethodGet, "/api:meta/workspace", apiKey, "").want(t, http.StatusForbidden, "admin_api_off")
	keys.v1(http.MethodGet, "/channels", "").want(t, http.StatusOK, "")

	admin := newBench(t, func(o *Options) { o.APIKeys = nil })
	admin.call(http.MethodGet, "/api/v1/demo/channels", "", "").want(t, http.StatusForbidden, "api_off")
	admin.call(http.MethodGet, "/api/v1/demo/channels", "x", "").want(t, http.StatusForbidden, "api_off")
	admin.call(http.MethodGet, "/api/v1/demo/channels", adminToken, "").want(t, http.StatusOK, "")
	admin.call(http.MethodGet, "/api:meta/workspace", "", "").want(t, http.StatusUnauthorized, "unauthorized")
}

func TestAuthorizationHeader(t *testing.T) {
	b := newBench(t)
	for header, want := range map[string]int{
		"Bearer " + apiKey:   http.StatusOK,
		"bearer  " + apiKey:  http.StatusOK,
		"Basic " + apiKey:    http.StatusUnauthorized,
		"Bearer":             http.StatusUnauthorized,
		"Bearer ":            http.StatusUnauthorized,
		apiKey:               http.StatusUnauthorized,
		"Bearer x" + apiKey:  http.StatusUnauthorized,
		"Bearer a b " + "c ": http.StatusUnauthorized,
	} {
		b.call(http.MethodGet, "/api/v1/demo/channels", "", "", "Authorization", header).want(t, want, "")
	}
}

func TestBadKeys(t *testing.T) {
	for _, entry := range []string{"", ":read", "secret:write", "secret:read@0", "secret:read@x", "secret:", "se cret", "secret:READ"} {
		_, err := New(Options{APIKeys: []string{"good", entry}})
		switch {
		case err == nil:
			t.Errorf("%q is taken", entry)
		case !strings.Contains(err.Error(), "api_keys[1]") || strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: %v", entry, err)
		}
	}
}

// from asks as a peer with an address.
func from(a *API, address, key string) int {
	r := httptest.NewRequest(http.MethodGet, "/api/v1/demo/channels", nil)
	r.RemoteAddr = address
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Code
}

func TestGuessingIsSlowedDown(t *testing.T) {
	b := newBench(t, func(o *Options) { o.APIKeys = []string{"one", "two"} })
	now := time.Now()
	b.api.throttle.now = func() time.Time { return now }
	const guesser = "192.0.2.1:1000"
	if got := from(b.api, guesser, "one"); got != http.StatusOK {
		t.Fatalf("a right key answers %d", got)
	}
	for i := range failuresBurst {
		if got := from(b.api, fmt.Sprintf("192.0.2.1:%d", i+1), "guess"); got != http.StatusUnauthorized {
			t.Fatalf("guess %d answers %d", i, got)
		}
	}
	for key, want := range map[string]int{
		"guess": http.StatusTooManyRequests,
		"two":   http.StatusTooManyRequests, // right, but it could be a lucky guess
		"one":   http.StatusOK,              // in use from there already
	} {
		if got := from(b.api, guesser, key); got != want {
			t.Errorf("%s answers %d, want %d", key, got, want)
		}
	}
	if got := from(b.api, "192.0.2.2:1000", "two"); got != http.StatusOK {
		t.Errorf("another address answers %d", got)
	}
	now = now.Add(failureEvery)
	if got := from(b.api, guesser, "two"); got != http.StatusOK {
		t.Errorf("after a while the right key answers %d", got)
	}
	if n := testutil.ToFloat64(b.api.metrics.authFailures.WithLabelValues("throttled")); n != 2 {
		t.Errorf("%v throttled in the metrics, want 2", n)
	}
	// The neighbours of one IPv6 network are one.
	for i := range failuresBurst {
		from(b.api, fmt.Sprintf("[2001:db8::%x]:1", i+1), "guess")
	}
	if got := from(b.api, "[2001:db8::ffff]:1", "guess"); got != http.StatusTooManyRequests {
		t.Errorf("a neighbour answers %d", got)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := throttle{now: time.Now, seen: make(map[addr]*failures)}
		for i := range maxAddresses + 100 {
			r := &http.Request{RemoteAddr: fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)}
			th.failed(addrOf(r))
			if len(th.seen) > maxAddresses {
				t.Fatalf("%d addresses", len(th.seen))
			}
		}
		time.Sleep(failureEvery) // all are forgiven
		th.failed(addrOf(&http.Request{RemoteAddr: "192.0.2.9:1"}))
		if len(th.seen) > 1 {
			t.Errorf("%d addresses stay", len(th.seen))
		}
		if got := addrOf(&http.Request{RemoteAddr: "@"}); got.IsValid() {
			t.Errorf("no address is %v", got)
		}
	})
}
