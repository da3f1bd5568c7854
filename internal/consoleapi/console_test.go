package consoleapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/consoleapi"
	"fanfare/protocol"
)

const token = "the-admin-token"

// fakeAPI answers like the HTTP API: what it was asked, or 401, or 429.
type fakeAPI struct {
	asked   []*http.Request
	blocked bool
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked = append(f.asked, r)
	bearer := r.Header.Get("Authorization")
	switch {
	case f.blocked:
		w.Header().Set("Retry-After", "4")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"code":"rate_limited","message":"Too many."}`)
	case bearer != "Bearer "+token && bearer != "Bearer another-admin-key":
		w.WriteHeader(http.StatusUnauthorized)
	default:
		_, _ = io.WriteString(w, r.Method+" "+r.URL.EscapedPath()+"?"+r.URL.RawQuery)
	}
}

func newConsole(t *testing.T, admin string) (*consoleapi.Console, *fakeAPI) {
	t.Helper()
	api := &fakeAPI{}
	reg := prometheus.NewRegistry()
	evictions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanfare_evictions_total"}, []string{"reason"})
	evictions.WithLabelValues("backlog").Add(2)
	evictions.WithLabelValues("rate").Add(1)
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fanfare_fanout_latency_seconds", Buckets: []float64{0.001, 0.01}})
	latency.Observe(0.005)
	secret := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanfare_something_else"})
	reg.MustRegister(evictions, latency, secret)
	c, err := consoleapi.New(consoleapi.Options{
		AdminToken: admin, API: api, Gatherer: reg, About: consoleapi.About{Gateway: "gw000001", Version: "v1"},
		Traces: func(_ context.Context, q consoleapi.TracesQuery) ([]byte, error) {
			if q.Session == "gw000002gone" {
				return nil, consoleapi.ErrNoGateway
			}
			return json.Marshal([]consoleapi.TracesQuery{q})
		},
		Mint: func(q consoleapi.MintQuery) (string, error) {
			if string(q.Extras) == `"text"` {
				return "", errors.New("extras: not an object")
			}
			return fmt.Sprint("token of ", q.DboID, " ", q.RowID, " ", string(q.Extras), " ", q.Lifetime), nil
		},
		Look: func(_ context.Context, id protocol.ServerID) (consoleapi.Scene, error) {
			return consoleapi.Scene{
				Sockets: int(id), Channels: []consoleapi.ChannelState{{Channel: "chat/<b>", Members: 2, Messages: 7}},
				Measures: []consoleapi.GatewayMeasures{{Gateway: "gw000001"}},
			}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, api
}

func ask(c http.Handler, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://here.example"+path, strings.NewReader(body))
	r.Header.Set("X-Fanfare-Console", "1")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

func signIn(t *testing.T, c http.Handler) func(*http.Request) {
	t.Helper()
	w := ask(c, http.MethodPost, "/console/api/session", `{"token":"`+token+`"}`)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK || len(cookies) != 1 {
		t.Fatalf("sign-in: %d %s", w.Code, w.Body)
	}
	return func(r *http.Request) { r.AddCookie(cookies[0]) }
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestSession(t *testing.T) {
	c, api := newConsole(t, token)
	for body, want := range map[string]int{
		`{"token":"wrong"}`:             http.StatusUnauthorized,
		`{"token":"another-admin-key"}`: http.StatusUnauthorized,
		`{"token":""}`:                  http.StatusBadRequest,
		`{"token":"a\r\nb"}`:            http.StatusBadRequest,
		`nonsense`:                      http.StatusBadRequest,
		`{"token":"` + strings.Repeat("x", 5000) + `"}`: http.StatusBadRequest,
	} {
		if w := ask(c, http.MethodPost, "/console/api/session", body); w.Code != want || len(w.Result().Cookies()) > 0 {
			t.Errorf("%.40s: %d, cookies %v", body, w.Code, w.Result().Cookies())
		}
	}
	w := ask(c, http.MethodPost, "/console/api/session", `{"token":"`+token+`"}`)
	cookie := w.Result().Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/console/" || cookie.Secure || cookie.MaxAge <= 0 {
		t.Errorf("cookie %+v", cookie)
	}
	if strings.Contains(cookie.Value+w.Body.String(), token) {
		t.Error("the token is in the answer")
	}
	if w := ask(c, http.MethodPost, "/console/api/session", `{"token":"`+token+`"}`, with("X-Forwarded-Proto", "https")); !w.Result().Cookies()[0].Secure {
		t.Error("behind TLS the cookie is not secure")
	}
	in := func(r *http.Request) { r.AddCookie(cookie) }
	if w := ask(c, http.MethodGet, "/console/api/session", "", in); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"gateway":"gw000001"`) {
		t.Errorf("session: %d %s", w.Code, w.Body)
	}
	// Another gateway with the same token knows it, one with another token does not.
	same, _ := newConsole(t, token)
	if w := ask(same, http.MethodGet, "/console/api/session", "", in); w.Code != http.StatusOK {
		t.Errorf("another gateway: %d", w.Code)
	}
	other, _ := newConsole(t, token+"2")
	if w := ask(other, http.MethodGet, "/console/api/session", "", in); w.Code != http.StatusUnauthorized {
		t.Errorf("another token: %d", w.Code)
	}
	for i := range cookie.Value {
		changed := []byte(cookie.Value)
		changed[i] ^= 1
		bad := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: string(changed)}) }
		if w := ask(c, http.MethodGet, "/console/api/session", "", bad); w.Code == http.StatusOK && i < len(changed)-1 { // the last character has spare bits
			t.Fatalf("changed at %d: %d", i, w.Code)
		}
	}
	if w := ask(c, http.MethodDelete, "/console/api/session", "", in); w.Code != http.StatusNoContent {
		t.Errorf("sign-out: %d", w.Code)
	}
	if w := ask(c, http.MethodGet, "/console/api/session", "", in); w.Code != http.StatusUnauthorized {
		t.Errorf("after the sign-out: %d", w.Code)
	}
	api.blocked = true
	w = ask(c, http.MethodPost, "/console/api/session", `{"token":"`+token+`"}`)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "4" || !strings.Contains(w.Body.String(), "rate_limited") {
		t.Errorf("blocked: %d %s", w.Code, w.Body)
	}
}

func TestOrigin(t *testing.T) {
	c, _ := newConsole(t, token)
	in := signIn(t, c)
	for name, tt := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"same origin":        {with("Origin", "http://here.example"), http.StatusOK},
		"another origin":     {with("Origin", "http://evil.example"), http.StatusForbidden},
		"no origin":          {with("Origin", "null"), http.StatusForbidden},
		"the browser agrees": {with("Sec-Fetch-Site", "same-origin"), http.StatusOK},
		"same site":          {with("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		"cross site":         {with("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		"without the header": {func(r *http.Request) { r.Header.Del("X-Fanfare-Console") }, http.StatusForbidden},
	} {
		if w := ask(c, http.MethodPut, "/console/api/proxy/api:meta/workspace/1", "{}", in, tt.change); w.Code != tt.want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestHandOn(t *testing.T) {
	c, api := newConsole(t, token)
	if w := ask(c, http.MethodGet, "/console/api/proxy/api:meta/workspace", ""); w.Code != http.StatusUnauthorized || len(api.asked) != 0 {
		t.Errorf("without a session: %d", w.Code)
	}
	in := signIn(t, c)
	w := ask(c, http.MethodGet, "/console/api/proxy/api/v1/demo/channels/chat%2Fa/history?limit=3", "", in, with("Authorization", "Bearer mine"))
	if got := w.Body.String(); got != "GET /api/v1/demo/channels/chat%2Fa/history?limit=3" {
		t.Errorf("%d %s", w.Code, got)
	}
	last := api.asked[len(api.asked)-1]
	if last.Header.Get("Cookie") != "" || last.Header.Get("Authorization") != "Bearer "+token {
		t.Errorf("header %v", last.Header)
	}
	for _, path := range []string{"metrics", "rt/demo", "console/api/session", ""} {
		if w := ask(c, http.MethodGet, "/console/api/proxy/"+path, "", in); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestLive(t *testing.T) {
	c, _ := newConsole(t, token)
	in := signIn(t, c)
	for _, query := range []string{"", "?server=0", "?server=x"} {
		if w := ask(c, http.MethodGet, "/console/api/live"+query, "", in); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	w := ask(c, http.MethodGet, "/console/api/live?server=3", "", in)
	var got struct {
		Sockets  int                          `json:"sockets"`
		Channels []consoleapi.ChannelState    `json:"channels"`
		Measures []consoleapi.GatewayMeasures `json:"measures"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Sockets != 3 || len(got.Channels) != 1 || len(got.Measures) != 1 || got.Measures[0].Gateway != "gw000001" {
		t.Errorf("%s", w.Body)
	}
	m, err := c.Measure()
	if err != nil || m.Values["evictions_total"]["backlog"] != 2 || m.Values["evictions_total"]["rate"] != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	h := m.Histograms["fanout_latency_seconds"][""]
	if h.Count != 1 || len(h.Buckets) != 2 || h.Buckets[0][1] != 0 || h.Buckets[1][1] != 1 {
		t.Errorf("%+v", h)
	}
	if m.Values["something_else"] != nil {
		t.Error("a metric that nobody shows is told")
	}
}

func TestTraces(t *testing.T) {
	c, _ := newConsole(t, token)
	in := signIn(t, c)
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"server=1&channel=chat%2Fa&socketId=gw000002xyz&after=7": {http.StatusOK, `"Channel":"chat/a","After":7`},
		"server=1&channel=a&socketId=gw000002gone":               {http.StatusNotFound, "gateway_gone"},
		"channel=a&socketId=gw000002xyz":                         {http.StatusBadRequest, "server"},
		"server=1&socketId=gw000002xyz":                          {http.StatusBadRequest, "channel"},
		"server=1&channel=%ff&socketId=gw000002xyz":              {http.StatusBadRequest, "channel"},
		"server=1&channel=a&socketId=short":                      {http.StatusBadRequest, "socketId"},
		"server=1&channel=a&socketId=gw000002xyz&after=-1":       {http.StatusBadRequest, "after"},
	} {
		if w := ask(c, http.MethodGet, "/console/api/traces?"+query, "", in); w.Code != want.status || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	if w := ask(c, http.MethodGet, "/console/api/traces?server=1&channel=a&socketId=gw000002xyz", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("signed out: %d", w.Code)
	}
}

func TestMint(t *testing.T) {
	c, _ := newConsole(t, token)
	in := signIn(t, c)
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{"dbo_id":5,"row_id":17}`:                           {http.StatusOK, "token of 5 17  10m0s"},
		`{"row_id":"9f0c","extras":{"name":"A"},"ttl":3600}`: {http.StatusOK, `token of 0 \"9f0c\" {\"name\":\"A\"} 1h0m0s`},
		`{"row_id":17,"extras":null,"ttl":1}`:                {http.StatusOK, "token of 0 17  1s"},
		`{"row_id":17,"ttl":3601}`:                           {http.StatusBadRequest, "invalid_body"},
		`{"row_id":17,"ttl":0}`:                              {http.StatusBadRequest, "invalid_body"},
		`{"row_id":17,"ttl":"1h"}`:                           {http.StatusBadRequest, "invalid_body"},
		`{"row_id":17,"alg":"none"}`:                         {http.StatusBadRequest, "invalid_body"},
		`{"row_id":17}{"row_id":18}`:                         {http.StatusBadRequest, "invalid_body"},
		`{"row_id":17,"extras":"text"}`:                      {http.StatusBadRequest, "not an object"},
		`{"dbo_id":5}`:                                       {http.StatusBadRequest, "row_id"},
		`{"row_id":"` + strings.Repeat("x", 5000) + `"}`:     {http.StatusBadRequest, "invalid_body"},
		`{"dbo_id":-1,"row_id":17}`:                          {http.StatusBadRequest, "row_id"},
	} {
		if w := ask(c, http.MethodPost, "/console/api/mint", body, in); w.Code != want.status || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%.60s: %d %s", body, w.Code, w.Body)
		}
	}
	good := `{"row_id":17}`
	for name, tt := range map[string]struct {
		want   int
		change []func(*http.Request)
	}{
		"signed out":         {http.StatusUnauthorized, nil},
		"another site":       {http.StatusForbidden, []func(*http.Request){in, with("Sec-Fetch-Site", "cross-site")}},
		"another origin":     {http.StatusForbidden, []func(*http.Request){in, with("Origin", "http://evil.example")}},
		"without the header": {http.StatusForbidden, []func(*http.Request){in, func(r *http.Request) { r.Header.Del("X-Fanfare-Console") }}},
	} {
		if w := ask(c, http.MethodPost, "/console/api/mint", good, tt.change...); w.Code != tt.want || strings.Contains(w.Body.String(), "token of") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := ask(c, http.MethodGet, "/console/api/mint", "", in); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	if w := ask(c, http.MethodGet, "/console/api/session", "", in); !strings.Contains(w.Body.String(), `"mint":true`) {
		t.Errorf("session: %s", w.Body)
	}
	off, err := consoleapi.New(consoleapi.Options{
		AdminToken: token, API: &fakeAPI{}, Gatherer: prometheus.NewRegistry(),
		Look:   func(context.Context, protocol.ServerID) (consoleapi.Scene, error) { return consoleapi.Scene{}, nil },
		Traces: func(context.Context, consoleapi.TracesQuery) ([]byte, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := ask(off, http.MethodPost, "/console/api/mint", good, in); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "mint_off") {
		t.Errorf("without a secret: %d %s", w.Code, w.Body)
	}
}

func TestOff(t *testing.T) {
	c, api := newConsole(t, "")
	w := ask(c, http.MethodPost, "/console/api/session", `{"token":"x"}`)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "admin_api_off") || len(api.asked) != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
