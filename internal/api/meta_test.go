package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"fanfare/internal/policy"
)

func TestWorkspaces(t *testing.T) {
	b := newBench(t)
	var made workspaceDoc
	r := b.admin(http.MethodPost, "", `{"name":"second"}`).want(t, http.StatusCreated, "")
	r.json(t, &made)
	if made.ID != 2 || made.Enabled || len(made.Hash) != 27 || r.header.Get("Location") != "/api:meta/workspace/2" {
		t.Errorf("made %+v at %s", made, r.header.Get("Location"))
	}
	b.admin(http.MethodPost, "", "").want(t, http.StatusCreated, "")

	var got struct {
		Items []workspaceDoc
		Next  *string
	}
	b.admin(http.MethodGet, "?limit=2", "").want(t, http.StatusOK, "").json(t, &got)
	if len(got.Items) != 2 || got.Next == nil || got.Items[0] != (workspaceDoc{ID: 1, Name: "Demo", Enabled: true, Hash: "demo"}) {
		t.Fatalf("first page %+v", got)
	}
	b.admin(http.MethodGet, "?limit=2&cursor="+*got.Next, "").want(t, http.StatusOK, "").json(t, &got)
	if len(got.Items) != 1 || got.Next != nil || got.Items[0].ID != 3 {
		t.Errorf("second page %+v", got)
	}
	b.admin(http.MethodPut, "/2", `{"name":"renamed","enabled":true,"hash":"other"}`).want(t, http.StatusOK, "", `"renamed"`, `"other"`)
	b.admin(http.MethodPut, "/2", `{"name":"again"}`).want(t, http.StatusOK, "", `"again"`, `"enabled":true`, `"other"`)
	b.admin(http.MethodGet, "/2", "").want(t, http.StatusOK, "", `"again"`)
	b.admin(http.MethodDelete, "/2", "").want(t, http.StatusNoContent, "")
	b.admin(http.MethodGet, "/2", "").want(t, http.StatusNotFound, "not_found")
	b.admin(http.MethodDelete, "/2", "").want(t, http.StatusNotFound, "not_found")
}

func TestRealtimeIsXanosJSON(t *testing.T) {
	b := newBench(t)
	const rule = `{"id":68327953636970,"pattern":"chat","description":"","enabled":true,"wildcard":true,"anonymous_clients":false,` +
		`"presence":true,"client_public_messaging":true,"client_public_messaging_authenticated_only":false,` +
		`"client_authenticated_messaging":false,"client_private_messaging":false,"client_private_messaging_authenticated_only":false,"history":100}`
	const whole = `{"enabled":true,"hash":"1lK90n16tnnylJpJ0Xa7Km6_KxA","channels":[` + rule + `]}`
	r := b.admin(http.MethodPut, "/1/realtime", whole).want(t, http.StatusOK, "")
	if got := strings.TrimSpace(string(r.body)); got != whole {
		t.Errorf("PUT answers\n%s, want\n%s", got, whole)
	}
	r = b.admin(http.MethodGet, "/1/realtime", "").want(t, http.StatusOK, "")
	if got := strings.TrimSpace(string(r.body)); got != whole {
		t.Errorf("GET answers\n%s, want\n%s", got, whole)
	}
	r = b.admin(http.MethodGet, "/1/realtime/channel/68327953636970", "").want(t, http.StatusOK, "")
	if got := strings.TrimSpace(string(r.body)); got != rule {
		t.Errorf("the rule is\n%s, want\n%s", got, rule)
	}
	// What is left out stays.
	b.admin(http.MethodPut, "/1/realtime", `{"enabled":false}`).want(t, http.StatusOK, "", rule, "1lK90n16tnnylJpJ0Xa7Km6_KxA")
	// Ids survive tools that drop them, new rules get one, chat/* is chat nested.
	b.admin(http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"new"},{"pattern":"chat/*"}]}`).
		want(t, http.StatusOK, "", `"id":68327953636970,"pattern":"chat","description":"","enabled":true,"wildcard":true`)
	if n := b.store.Current().ByID(1).Channels[0].ID; n < 10_000_000_000_000 {
		t.Errorf("new rule has id %d", n)
	}
}

func TestCompareAndSet(t *testing.T) {
	b := newBench(t)
	tag := b.admin(http.MethodGet, "/1/realtime", "").want(t, http.StatusOK, "").header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	b.admin(http.MethodGet, "/1/realtime", "", "If-None-Match", tag).want(t, http.StatusNotModified, "")
	next := b.admin(http.MethodPut, "/1/realtime", `{"enabled":true,"strict":true}`, "If-Match", tag).want(t, http.StatusOK, "").header.Get("ETag")
	if next == tag {
		t.Error("the ETag did not change")
	}
	b.admin(http.MethodPut, "/1/realtime", `{"enabled":false}`, "If-Match", tag).want(t, http.StatusConflict, "conflict")
	b.admin(http.MethodPut, "/1/realtime", `{"enabled":false}`, "If-Match", `"nonsense"`).want(t, http.StatusConflict, "conflict")
	b.admin(http.MethodDelete, "/1", "", "If-Match", tag).want(t, http.StatusConflict, "conflict")
	b.admin(http.MethodPost, "/1/realtime/channel", `{"pattern":"x"}`, "If-Match", tag).want(t, http.StatusConflict, "conflict")
	b.admin(http.MethodPut, "/1/realtime", `{"enabled":true}`, "If-Match", `"0", W/`+next).want(t, http.StatusOK, "")
	b.admin(http.MethodPut, "/1/realtime", `{"enabled":true}`, "If-Match", "*").want(t, http.StatusOK, "")
	b.admin(http.MethodGet, "/1/realtime", "", "If-None-Match", next).want(t, http.StatusOK, "")
}

func TestConcurrentRulesAllStay(t *testing.T) {
	b := newBench(t)
	before := len(b.store.Current().ByID(1).Channels)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			b.admin(http.MethodPost, "/1/realtime/channel", fmt.Sprintf(`{"pattern":"rule%d"}`, i)).want(t, http.StatusCreated, "")
		})
	}
	group.Wait()
	if n := len(b.store.Current().ByID(1).Channels); n != before+8 {
		t.Errorf("%d rules, want %d", n, before+8)
	}
}

func TestRules(t *testing.T) {
	b := newBench(t)
	r := b.admin(http.MethodPost, "/1/realtime/channel", `{"pattern":"news/*","history":25}`).want(t, http.StatusCreated, "")
	var rule policy.Rule
	r.json(t, &rule)
	if !rule.Enabled || !rule.Wildcard || rule.Pattern != "news" || rule.History != 25 {
		t.Errorf("made %+v", rule)
	}
	path := strings.TrimPrefix(r.header.Get("Location"), "/api:meta/workspace")
	b.admin(http.MethodGet, path, "").want(t, http.StatusOK, "", `"news"`)

	// A switched-off rule is not switched on by an edit that does not speak of it.
	b.admin(http.MethodPut, path, `{"pattern":"news/*","enabled":false}`).want(t, http.StatusOK, "", `"enabled":false`, `"history":0`)
	b.admin(http.MethodPut, path, `{"pattern":"news","wildcard":true,"presence":true}`).want(t, http.StatusOK, "", `"enabled":false`, `"presence":true`)
	b.admin(http.MethodPut, path, fmt.Sprintf(`{"id":%d,"pattern":"news/*"}`, rule.ID)).want(t, http.StatusOK, "")
	b.admin(http.MethodPut, path, `{"id":5,"pattern":"news/*"}`).want(t, http.StatusBadRequest, "invalid_field", `"field":"id"`)
	b.admin(http.MethodPut, path, `{"pattern":"chat/*"}`).want(t, http.StatusBadRequest, "invalid_field", `"field":"pattern"`)
	b.admin(http.MethodPost, "/1/realtime/channel", `{"pattern":"news/*"}`).want(t, http.StatusBadRequest, "invalid_field", `"field":"pattern"`)
	b.admin(http.MethodDelete, path, "").want(t, http.StatusNoContent, "")
	b.admin(http.MethodDelete, path, "").want(t, http.StatusNotFound, "not_found")
	b.admin(http.MethodGet, path, "").want(t, http.StatusNotFound, "not_found")
	b.admin(http.MethodPut, path, `{"pattern":"x"}`).want(t, http.StatusNotFound, "not_found")
	b.admin(http.MethodGet, "/1/realtime/channel/none", "").want(t, http.StatusNotFound, "not_found")
}

func TestRuleList(t *testing.T) {
	b := newBench(t)
	var got struct {
		Items    []policy.Rule
		Next     *string
		CurPage  int
		NextPage *int
		PrevPage *int
	}
	var patterns []string
	for path := "/1/realtime/channel?limit=3"; ; {
		got.Next, got.Items = nil, nil
		b.admin(http.MethodGet, path, "").want(t, http.StatusOK, "").json(t, &got)
		for _, r := range got.Items {
			patterns = append(patterns, r.Pattern)
		}
		if got.Next == nil {
			break
		}
		path = "/1/realtime/channel?limit=3&cursor=" + *got.Next
	}
	if s := strings.Join(patterns, " "); s != "room1 chat off hook" {
		t.Errorf("pages hold %q", s)
	}
	b.admin(http.MethodGet, "/1/realtime/channel?page=2&per_page=3&search=&include_xanoscript=false", "").want(t, http.StatusOK, "").json(t, &got)
	if len(got.Items) != 1 || got.CurPage != 2 || got.NextPage != nil || got.PrevPage == nil {
		t.Errorf("page 2 is %+v", got)
	}
	b.admin(http.MethodGet, "/1/realtime/channel?search=CHAT/", "").want(t, http.StatusOK, "").json(t, &got)
	if len(got.Items) != 1 || got.Items[0].Pattern != "chat" {
		t.Errorf("search finds %+v", got.Items)
	}
	b.admin(http.MethodGet, "/1/realtime/channel?page=9", "").want(t, http.StatusOK, "", `"items":[]`)
}

func TestSecretsAreMasked(t *testing.T) {
	b := newBench(t)
	stored := func() policy.Secrets { return b.store.Current().ByID(1).Rule("hook").Triggers[0].Secret }
	masked := b.admin(http.MethodGet, "/1/realtime", "").want(t, http.StatusOK, "")
	id := b.store.Current().ByID(1).Rule("hook").ID
	single := b.admin(http.MethodGet, fmt.Sprintf("/1/realtime/channel/%d", id), "").want(t, http.StatusOK, "")
	for _, r := range []*reply{masked, single, b.admin(http.MethodGet, "/1/realtime/channel", "")} {
		if strings.Contains(string(r.body), secretA[6:]) || !strings.Contains(string(r.body), "whsec_masked_") {
			t.Errorf("answer shows a secret: %s", r.body)
		}
	}
	// Writing the answers back changes nothing, also when rules have moved about.
	b.admin(http.MethodPut, "/1/realtime", string(masked.body)).want(t, http.StatusOK, "", "whsec_masked_")
	var doc map[string]json.RawMessage
	masked.json(t, &doc)
	var rules []json.RawMessage
	if err := json.Unmarshal(doc["channels"], &rules); err != nil {
		t.Fatal(err)
	}
	rules[0], rules[3] = rules[3], rules[0]
	body, err := json.Marshal(map[string]any{"channels": rules})
	if err != nil {
		t.Fatal(err)
	}
	b.admin(http.MethodPut, "/1/realtime", string(body)).want(t, http.StatusOK, "")
	b.admin(http.MethodPut, fmt.Sprintf("/1/realtime/channel/%d", id), string(single.body)).want(t, http.StatusOK, "")
	if s := stored(); len(s) != 2 || s[0] != secretA || s[1] != secretB {
		t.Errorf("secrets became %q", []string(s))
	}
	// A mask of nothing is no secret.
	b.admin(http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"hook","triggers":[{"url":"https://x.test","actions":{"join":true},"secret":"whsec_masked_0011223344556677"}]}]}`).
		want(t, http.StatusBadRequest, "invalid_field", "channels[0].triggers[0].secret")
	b.admin(http.MethodGet, "/1/realtime?include_secrets=true", "").want(t, http.StatusOK, "", secretA, secretB)
}

func TestBadSettings(t *testing.T) {
	b := newBench(t)
	big := strings.Repeat("x", maxBody)
	before := b.store.Current()
	for _, c := range []struct {
		method, path, body string
		status             int
		code, text         string
	}{
		{http.MethodPut, "/1/realtime", `{`, 400, "invalid_body", "ends too early"},
		{http.MethodPut, "/1/realtime", ``, 400, "invalid_body", "ends too early"},
		{http.MethodPut, "/1/realtime", `{} {}`, 400, "invalid_body", "not valid JSON"},
		{http.MethodPut, "/1/realtime", `[]`, 400, "invalid_body", "must be an object"},
		{http.MethodPut, "/1/realtime", `{"enabled":1}`, 400, "invalid_field", "enabled: must be true or false"},
		{http.MethodPut, "/1/realtime", `{"enable":true}`, 400, "invalid_field", "enable: is not a known field"},
		{http.MethodPut, "/1/realtime", `{"Enabled":true}`, 400, "invalid_field", "Enabled: is not a known field"},
		{http.MethodPut, "/1/realtime", `{"enabled":true,"enabled":false}`, 400, "invalid_field", "enabled: is there twice"},
		{http.MethodPut, "/1/realtime", `{"channels":{}}`, 400, "invalid_field", "channels: must be a list"},
		{http.MethodPut, "/1/realtime", `{"channels":[{}]}`, 400, "invalid_field", "channels[0].pattern: is required"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"a"},{"pattern":"a"}]}`, 400, "invalid_field", "channels[1].pattern"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"a","history":99}]}`, 400, "invalid_field", "channels[0].history"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"a","history":"25"}]}`, 400, "invalid_field", "channels[0].history: must be an integer"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"a","wildcart":true}]}`, 400, "invalid_field", "channels[0].wildcart"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"a","pattern_join":"all"}]}`, 400, "invalid_field", "channels[0].pattern_join"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"a","triggers":[{"url":"ftp://x","actions":{"join":true}}]}]}`, 400, "invalid_field", "channels[0].triggers[0].url"},
		{http.MethodPut, "/1/realtime", `{"channels":[{"pattern":"` + strings.Repeat("a", 201) + `"}]}`, 400, "invalid_field", "channels[0].pattern"},
		{http.MethodPut, "/1/realtime", `{"hash":""}`, 400, "invalid_field", "hash"},
		{http.MethodPut, "/1/realtime", `{"hash":"a/b"}`, 400, "invalid_field", "hash"},
		{http.MethodPut, "/1/realtime", `{"id":2}`, 400, "invalid_field", "id"},
		{http.MethodPut, "/1/realtime", `{"hash":"` + big + `"}`, 413, "too_large", "1 MiB"},
		{http.MethodPut, "/9/realtime", `{}`, 404, "not_found", "workspace"},
		{http.MethodGet, "/9/realtime", "", 404, "not_found", "workspace"},
		{http.MethodGet, "/zero/realtime", "", 404, "not_found", "workspace"},
		{http.MethodGet, "/0", "", 404, "not_found", "workspace"},
		{http.MethodGet, "/1/realtime?x=1", "", 400, "invalid_parameter", "x is not a known parameter"},
		{http.MethodGet, "/1/realtime?include_secrets=maybe", "", 400, "invalid_parameter", "include_secrets"},
		{http.MethodGet, "?limit=0", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "?limit=-5", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "?limit=ten", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "?limit=", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "?limit=1&limit=2", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "?cursor=%21", "", 400, "invalid_parameter", "cursor"},
		{http.MethodGet, "?cursor=YWJj", "", 400, "invalid_parameter", "cursor"},
		{http.MethodGet, "/1/realtime/channel?cursor=YWJj", "", 400, "invalid_parameter", "cursor"},
		{http.MethodPost, "", `{"id":7}`, 400, "invalid_field", "id"},
		{http.MethodPost, "", `{"hash":"demo"}`, 400, "invalid_field", "is the hash of server 1 already"},
		{http.MethodPost, "/1/realtime/channel", `{"pattern":""}`, 400, "invalid_field", `"field":"pattern"`},
		{http.MethodPatch, "/1/realtime", `{}`, 405, "method_not_allowed", "GET, HEAD, PUT"},
		{http.MethodGet, "/1/nothing", "", 404, "not_found", "path"},
	} {
		name := c.method + " " + c.path + " " + c.body
		t.Run(name[:min(len(name), 100)], func(t *testing.T) {
			r := b.admin(c.method, c.path, c.body).want(t, c.status, c.code, c.text)
			if r.header.Get("Content-Type") != "application/json" {
				t.Errorf("the error is %s", r.header.Get("Content-Type"))
			}
		})
	}
	if b.store.Current() != before {
		t.Error("a refused request changed the settings")
	}
}

func TestReadOnlySettings(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Settings = fileSettings(t) })
	b.admin(http.MethodGet, "/1/realtime", "").want(t, http.StatusOK, "")
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPost, "", `{}`},
		{http.MethodPut, "/1", `{"name":"x"}`},
		{http.MethodPut, "/1/realtime", `{"enabled":false}`},
		{http.MethodDelete, "/1", ``},
		{http.MethodPost, "/1/realtime/channel", `{"pattern":"x"}`},
	} {
		b.admin(c.method, c.path, c.body).want(t, http.StatusForbidden, "read_only", "settings_file")
	}
}

func TestStoreOutOfReach(t *testing.T) {
	b := newBench(t)
	b.api.o.Settings = broken{b.store}
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPost, "", `{}`},
		{http.MethodPut, "/1/realtime", `{}`},
		{http.MethodDelete, "/1", ``},
		{http.MethodDelete, fmt.Sprintf("/1/realtime/channel/%d", b.store.Current().ByID(1).Channels[0].ID), ``},
	} {
		r := b.admin(c.method, c.path, c.body).want(t, http.StatusServiceUnavailable, "unavailable")
		if strings.Contains(string(r.body), "10.1.2.3") || r.header.Get("Retry-After") == "" {
			t.Errorf("%v %s", r.header, r.body)
		}
	}
}
