package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// History over a socket and over the HTTP API, of a pattern beside a busier rule, beside events for somebody else, and
// after history_ttl was set.
func TestHistory(t *testing.T) {
	n := start(t, func(c *config.Config) {
		c.AdminToken, c.APIKeys = config.NewSecret("admin-token-0123456789"), []config.APIKey{{Key: config.NewSecret("api-key-0123456789"), Scope: config.ScopeAll}}
	})
	ask := func(bearer, method, path string, body any) string {
		t.Helper()
		answer, err := call(t.Context(), n, bearer, method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	rule := func(pattern string, wildcard bool, history, ttl int) object {
		return object{
			"pattern": pattern, "wildcard": wildcard, "enabled": true, "anonymous_clients": true, "pattern_join": "anyone", "history": history, "history_ttl": ttl,
		}
	}
	const rules = "/api:meta/workspace/1/realtime/channel"
	ask("admin-token-0123456789", http.MethodPost, rules, rule("q", true, 25, 0))
	ask("admin-token-0123456789", http.MethodPost, rules, rule("q/loud", false, 100, 0))
	var made struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal([]byte(ask("admin-token-0123456789", http.MethodPost, rules, rule("aimed", false, 250, 0))), &made); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the rules are in force", func() bool {
		server := n.settings.Current().ByID(1)
		return server.Rule("aimed") != nil && server.Rule("q/loud").History == 100
	})
	publish := func(channel, data string, user int) string {
		t.Helper()
		event := object{"channel": channel, "data": data, "store": true}
		if user > 0 {
			event["dbo_id"], event["row_id"] = 7, user
		}
		var receipt struct {
			Offset string `json:"offset"`
		}
		if err := json.Unmarshal([]byte(ask("api-key-0123456789", http.MethodPost, "/api/v1/demo/events", event)), &receipt); err != nil {
			t.Fatal(err)
		}
		return receipt.Offset
	}
	for i := range 5 {
		publish("q/a", fmt.Sprint("a", i), 0)
	}
	for range 60 {
		publish("q/loud", "x", 0)
	}
	var offsets []string
	for i := range 10 {
		offsets = append(offsets, publish("aimed", fmt.Sprint("m", i), 0))
	}
	for range 20 {
		publish("aimed", "x", 1)
	}
	end := publish("aimed", "end", 0)

	c, err := client.Dial(t.Context(), "ws://"+n.Addr()+"/rt/demo", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	channels := map[string]*client.Channel{}
	for _, name := range []string{"q/*", "aimed"} {
		channels[name] = c.Channel(name, client.ChannelOptions{})
		if err := channels[name].Join(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	page := func(channel string, q client.HistoryQuery, want string, more bool) {
		t.Helper()
		p, err := channels[channel].History(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range p.Messages {
			var text string
			if err := m.Decode(&text); err != nil {
				t.Error(err)
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != want || p.More != more {
			t.Errorf("%s %+v: %v more=%t, want %s more=%t", channel, q, got, p.More, want, more)
		}
	}
	offset := func(text string) uint64 {
		var o uint64
		_, _ = fmt.Sscan(text, &o)
		return o
	}
	m9, none := offset(offsets[9]), uint64(0)
	page("q/*", client.HistoryQuery{}, "a0 a1 a2 a3 a4", false)
	page("q/*", client.HistoryQuery{Limit: 3}, "a2 a3 a4", true)
	page("aimed", client.HistoryQuery{Limit: 5, Before: offset(end)}, "m5 m6 m7 m8 m9", true)
	page("aimed", client.HistoryQuery{Limit: 5, After: &m9}, "end", false)
	page("aimed", client.HistoryQuery{Limit: 15, After: &none}, "m0 m1 m2 m3 m4 m5 m6 m7 m8 m9 end", false)
	found := func(query string) int {
		t.Helper()
		return strings.Count(ask("api-key-0123456789", http.MethodGet, "/api/v1/demo/channels/aimed/history?"+query, nil), `"action"`)
	}
	if got := found("limit=5&before=" + end); got != 5 {
		t.Errorf("%d over HTTP", got)
	}
	if got := found("before=0"); got != 0 {
		t.Errorf("%d before 0", got)
	}

	topic, from := protocol.Topic{Server: 1, Channel: "aimed"}, protocol.Position{Offset: m9}
	port := historyPort{n.history}
	if _, whole, err := port.Resume(t.Context(), topic, from, 0, 100, 0); !whole || err != nil {
		t.Errorf("resume: %t %v", whole, err)
	}
	ask("admin-token-0123456789", http.MethodPut, fmt.Sprint(rules, "/", made.ID), rule("aimed", false, 250, 1))
	natstest.Eventually(t, "what is over its age is gone", func() bool { return found("after=0") == 0 })
	for _, query := range []string{"", "before=" + end, "since=0"} {
		if got := found(query); got != 0 {
			t.Errorf("%q: %d of what is over its age", query, got)
		}
	}
	page("aimed", client.HistoryQuery{}, "", false)
	page("aimed", client.HistoryQuery{After: &none}, "", false)
	page("aimed", client.HistoryQuery{Before: offset(end)}, "", false)
	if _, whole, err := port.Resume(t.Context(), topic, from, 0, 100, time.Second); whole || err != nil {
		t.Errorf("resume over what is over its age: %t %v", whole, err)
	}
}
