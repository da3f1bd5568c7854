package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fanfare/internal/policy"
)

// fuzzed is an API over fixed settings: no broker, because a fuzzer makes thousands of calls a second.
func fuzzed(tb testing.TB) (*API, *memory) {
	tb.Helper()
	m := newMemory()
	a, err := New(Options{Settings: fileSettings(tb), Backend: m, Lifecycle: newRecord(), APIKeys: []string{apiKey}, AdminToken: adminToken})
	if err != nil {
		tb.Fatal(err)
	}
	return a, m
}

// ask makes a call and checks what every answer must be: JSON, and an error with a code when it is one, never ours.
func ask(t *testing.T, a *API, method, path, query, key string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "/", bytes.NewReader(body))
	r.URL = &url.URL{Path: path, RawQuery: query}
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if w.Code == http.StatusNoContent {
		return w
	}
	var e struct{ Code, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("%s %s?%q %q answers %d %q: %v", method, path, query, body, w.Code, w.Body, err)
	}
	if w.Code >= 500 || w.Code >= 400 && (e.Code == "" || e.Message == "") {
		t.Fatalf("%s %s?%q %q answers %d %s", method, path, query, body, w.Code, w.Body)
	}
	return w
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"limit=1", "limit=-5&cursor=abc", "before=1", "after=18446744073709551615", "since=2026-01-02T03:04:05Z", "since=-1",
		"prefix=%00&channel=a", "wait=1ns", "channel=a&op=send&dbo_id=1&row_id=x&authenticated=1", "a=%zz", "%ff=1", ";", "wait=0x1p-2h",
	} {
		f.Add(q)
	}
	a, _ := fuzzed(f)
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "wait") {
			return // or it does
		}
		for _, path := range []string{
			"/channels", "/channels/a/presence", "/channels/a/history", "/channels/a/*/history", "/explain", "/lifecycle", "/connections",
		} {
			ask(t, a, http.MethodGet, "/api/v1/demo"+path, query, apiKey, nil)
		}
		ask(t, a, http.MethodGet, "/api:meta/workspace", query, adminToken, nil)
		ask(t, a, http.MethodGet, "/api:meta/workspace/1/realtime/channel", query, adminToken, nil)
	})
}

func FuzzEvent(f *testing.F) {
	for _, b := range []string{
		`{"channel":"a","data":{"x":[1,"\u2028<"]}}`, `{"channel":"a","data":1,"dbo_id":"1","row_id":"x"}`, `{"channel":"a","data":1,"id":"x"}`,
		`{"channel":"a","data":1,"expect_offset":"1"}`, `{"channel":"a","data":1e400}`, `{"channel":"a/*","data":1}`, `{"events":[{"channel":"a","data":1}]}`,
		`{"channel":"a","data":"\ud800"}`, `{"dbo_id":1,"auth_id":2}`, `{"socketId":"x"}`,
	} {
		f.Add([]byte(b))
	}
	a, m := fuzzed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		m.events = nil
		w := ask(t, a, http.MethodPost, "/api/v1/demo/events", "", apiKey, body)
		if w.Code == http.StatusOK {
			e := m.events[0]
			var compact bytes.Buffer
			if err := json.Compact(&compact, e.Data); err != nil || compact.String() != string(e.Data) {
				t.Fatalf("%q became data %q", body, e.Data)
			}
			if depth(e.Data)+frameDepth > 128 || len(e.Data) > 65536 {
				t.Fatalf("%q is over the limits", body)
			}
		}
		ask(t, a, http.MethodPost, "/api/v1/demo/events/batch", "", apiKey, body)
		ask(t, a, http.MethodPost, "/api/v1/demo/events/batch", "", apiKey, []byte(`{"atomic":true,"events":[`+string(body)+`]}`))
		ask(t, a, http.MethodPost, "/api/v1/demo/disconnect", "", apiKey, body)
	})
}

func FuzzSettings(f *testing.F) {
	for _, b := range []string{
		`{"enabled":true,"hash":"x","channels":[{"pattern":"a/*","history":25}]}`, `{"channels":[{"id":1,"pattern":"a"},{"id":1,"pattern":"b"}]}`,
		`{"channels":[{"pattern":"a","triggers":[{"url":"https://x","actions":{"join":true},"secret":["whsec_masked_00"]}]}]}`,
		`{"channels":null}`, `{"channels":[null]}`, `{"channels":[{"pattern":"/*"}]}`, `{"channels":[{"pattern":"*"}]}`, `{"channels":[{"pattern":"a/*/*"}]}`,
	} {
		f.Add([]byte(b))
	}
	base := policy.Server{ID: 1, Hash: "demo"}
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := policy.DecodeServer(body, base)
		if err != nil {
			if classify(err).status != http.StatusBadRequest {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		n := int64(0)
		policy.AssignIDs(in.Channels, nil, func() int64 { n++; return n })
		s, err := policy.Compile(in, policy.Limits{})
		if err != nil {
			if classify(err).status != http.StatusBadRequest {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		// The answer, written back, changes nothing.
		answer, err := json.Marshal(settingsOf(s, false))
		if err != nil {
			t.Fatal(err)
		}
		again, err := policy.DecodeServer(answer, *s)
		if err != nil {
			t.Fatalf("%q answers %s: %v", body, answer, err)
		}
		policy.Unmask(again.Channels, s)
		back, err := policy.Compile(again, policy.Limits{})
		if err != nil {
			t.Fatalf("%q answers %s: %v", body, answer, err)
		}
		a, _ := json.Marshal(s)
		b, _ := json.Marshal(back)
		if !bytes.Equal(a, b) {
			t.Fatalf("%q\n%s\n%s", body, a, b)
		}
	})
}
