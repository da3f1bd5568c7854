package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fanfare/protocol"
)

// compiled makes an enabled server of rules; those without an id get one.
func compiled(t testing.TB, rules ...Rule) *Server {
	t.Helper()
	next := int64(0)
	AssignIDs(rules, nil, func() int64 { next++; return next })
	s, err := Compile(Server{ID: 1, Hash: "h", Enabled: true, Channels: rules}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPrecedence(t *testing.T) {
	s := compiled(
		t,
		Rule{ID: 1, Pattern: "chat", Wildcard: true, Enabled: true},
		Rule{ID: 2, Pattern: "chat/sports", Enabled: true},
		Rule{ID: 3, Pattern: "chat/sports/*", Enabled: true},
		Rule{ID: 4, Pattern: "chat/off", Enabled: false},
		Rule{ID: 5, Pattern: "chat/news", Wildcard: true, Enabled: false},
		Rule{ID: 6, Pattern: "room1", Enabled: true},
		Rule{ID: 7, Pattern: "*", Enabled: true},
		Rule{ID: 8, Pattern: "a//b", Wildcard: true, Enabled: true},
		Rule{ID: 9, Pattern: "/x", Wildcard: true, Enabled: true},
		Rule{ID: 10, Pattern: "tail/", Enabled: true},
	)
	for name, want := range map[protocol.Channel]int64{
		"chat":              0, // chat/* does not cover it
		"chat/":             0, // something must follow
		"chat//":            1,
		"chat/tech":         1,
		"chat/tech/go":      1, // spans slashes
		"chat/sports":       2, // exact before nested
		"chat/sports/":      1, // not below chat/sports: nothing follows
		"chat/sports/f1":    3, // longest base
		"chat/sports/f1/q":  3,
		"chat/off":          1, // disabled is as if absent
		"chat/news/today":   1,
		"chat/*":            1,
		"chat/sports/*":     3,
		"chat/tech/*":       0, // no rule with exactly that base
		"chat/news/*":       0, // disabled
		"room1":             6,
		"room1/x":           0,
		"room1/*":           0,
		"Room1":             0, // case counts
		"chatter/x":         0,
		"*":                 7,
		"*/x":               0,
		"anything":          0,
		"a//b/c":            8,
		"a/b/c":             0,
		"/x/y":              9,
		"x/y":               0,
		"/":                 0,
		"//":                0,
		"/*":                0,
		"tail/":             10,
		"":                  0,
		"chat/sports/f1/*x": 3, // an ordinary character
	} {
		got := int64(0)
		if r := s.Rule(name); r != nil {
			got = r.ID
		}
		if got != want {
			t.Errorf("%q is covered by rule %d, want %d", name, got, want)
		}
	}
	if s.Rule("chat/a") != s.Rule("chat/b/c") || s.Rule("chat/a") != s.Rule("chat/*") {
		t.Error("one rule is several values")
	}
	var none *Server
	if none.Rule("chat/a") != nil || (&Server{Enabled: true, Channels: s.Channels}).Rule("chat/a") != nil {
		t.Error("what was not compiled has rules")
	}
	off := s.Clone()
	off.Enabled = false
	c, err := Compile(off, Limits{})
	if err != nil || c.Rule("room1") != nil {
		t.Errorf("a disabled server has rules: %v", err)
	}
}

// FuzzRule holds the lookup against protocol's notion of a pattern.
func FuzzRule(f *testing.F) {
	for _, name := range []string{"chat/sports", "chat/", "chat//", "/", "chat/*", "a/b/c/*"} {
		f.Add(name)
	}
	s := compiled(f, Rule{Pattern: "chat", Wildcard: true, Enabled: true}, Rule{Pattern: "chat//x", Wildcard: true, Enabled: true},
		Rule{Pattern: "a/b", Wildcard: true, Enabled: true}, Rule{Pattern: "/", Wildcard: true, Enabled: true}, Rule{Pattern: "chat/one", Enabled: true})
	f.Fuzz(func(t *testing.T, name string) {
		ch := protocol.Channel(name)
		var want *Rule
		for i := range s.Channels {
			r := &s.Channels[i]
			switch {
			case r.Target() == ch:
				want = r
			case ch.IsPattern() || want != nil && want.Target() == ch:
			case r.Wildcard && r.Target().Covers(ch) && (want == nil || len(r.Pattern) > len(want.Pattern)):
				want = r
			}
		}
		if got := s.Rule(ch); got != want {
			t.Fatalf("%q: %+v, want %+v", name, got, want)
		}
	})
}

func TestCompileDoesNotShare(t *testing.T) {
	in := Server{ID: 1, Hash: "h", Enabled: true, Channels: []Rule{{ID: 1, Pattern: "a", Enabled: true, Triggers: []Trigger{{
		URL: "https://x.test", Actions: TriggerActions{Join: true}, Secret: Secrets{secret1},
	}}}}}
	s, err := Compile(in, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in.Channels[0].Pattern = "b"
	in.Channels[0].Triggers[0].Secret[0] = "x"
	if r := s.Rule("a"); r == nil || r.Triggers[0].Secret[0] != secret1 || r.Triggers[0].OnFailure != FailureBlock {
		t.Errorf("rule is %+v", r)
	}
}

const (
	secret1 = "whsec_MfKQ9r8GKYqwTwjUPD8ILPZIo2LaLaSw"
	secret2 = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func TestValidate(t *testing.T) {
	hook := func(change func(*Trigger)) Rule {
		tr := Trigger{URL: "https://x.test/hook", Actions: TriggerActions{Join: true}, Secret: Secrets{secret1}}
		change(&tr)
		return Rule{ID: 1, Pattern: "a", Triggers: []Trigger{tr}}
	}
	rule := func(change func(*Rule)) Rule {
		r := Rule{ID: 1, Pattern: "a"}
		change(&r)
		return r
	}
	for _, c := range []struct {
		name, field string
		server      Server
		rules       []Rule
	}{
		{name: "no id", field: "id", server: Server{ID: -1, Hash: "h"}},
		{name: "long name", field: "name", server: Server{ID: 1, Hash: "h", Name: strings.Repeat("x", 201)}},
		{name: "name not UTF-8", field: "name", server: Server{ID: 1, Hash: "h", Name: "\xff"}},
		{name: "no hash", field: "hash", server: Server{ID: 1}},
		{name: "long hash", field: "hash", server: Server{ID: 1, Hash: strings.Repeat("x", 65)}},
		{name: "hash with a slash", field: "hash", server: Server{ID: 1, Hash: "a/b"}},
		{name: "too many rules", field: "channels", rules: make([]Rule, 1001)},
		{name: "no pattern", field: "channels[0].pattern", rules: []Rule{{ID: 1}}},
		{name: "no rule id", field: "channels[0].id", rules: []Rule{{Pattern: "a"}}},
		{name: "huge rule id", field: "channels[0].id", rules: []Rule{{ID: 1 << 60, Pattern: "a"}}},
		{name: "one id twice", field: "channels[1].id", rules: []Rule{{ID: 1, Pattern: "a"}, {ID: 1, Pattern: "b"}}},
		{name: "one pattern twice", field: "channels[1].pattern", rules: []Rule{{ID: 1, Pattern: "a/*"}, {ID: 2, Pattern: "a", Wildcard: true}}},
		{name: "pattern of a pattern", field: "channels[0].pattern", rules: []Rule{{ID: 1, Pattern: "a/*/*"}}},
		{name: "long pattern", field: "channels[0].pattern", rules: []Rule{{ID: 1, Pattern: strings.Repeat("a", 201)}}},
		{name: "long base", field: "channels[0].pattern", rules: []Rule{{ID: 1, Pattern: strings.Repeat("a", 199), Wildcard: true}}},
		{name: "deep pattern", field: "channels[0].pattern", rules: []Rule{{ID: 1, Pattern: strings.Repeat("a/", 16) + "a"}}},
		{name: "pattern not UTF-8", field: "channels[0].pattern", rules: []Rule{{ID: 1, Pattern: "\xff"}}},
		{name: "description", field: "channels[0].description", rules: []Rule{rule(func(r *Rule) { r.Description = strings.Repeat("x", 1001) })}},
		{name: "history", field: "channels[0].history", rules: []Rule{rule(func(r *Rule) { r.History = 26 })}},
		{name: "negative history", field: "channels[0].history", rules: []Rule{rule(func(r *Rule) { r.History = -1 })}},
		{name: "history_ttl", field: "channels[0].history_ttl", rules: []Rule{rule(func(r *Rule) { r.HistoryTTL = -1 })}},
		{name: "rate_limit", field: "channels[0].rate_limit", rules: []Rule{rule(func(r *Rule) { r.RateLimit = -1 })}},
		{name: "pattern_join", field: "channels[0].pattern_join", rules: []Rule{rule(func(r *Rule) { r.PatternJoin = "all" })}},
		{name: "many triggers", field: "channels[0].triggers", rules: []Rule{rule(func(r *Rule) { r.Triggers = make([]Trigger, 9) })}},
		{name: "no url", field: "channels[0].triggers[0].url", rules: []Rule{hook(func(t *Trigger) { t.URL = "" })}},
		{name: "file url", field: "channels[0].triggers[0].url", rules: []Rule{hook(func(t *Trigger) { t.URL = "file:///etc/passwd" })}},
		{name: "relative url", field: "channels[0].triggers[0].url", rules: []Rule{hook(func(t *Trigger) { t.URL = "/hook" })}},
		{name: "long url", field: "channels[0].triggers[0].url", rules: []Rule{hook(func(t *Trigger) { t.URL += strings.Repeat("x", 2048) })}},
		{name: "no actions", field: "channels[0].triggers[0].actions", rules: []Rule{hook(func(t *Trigger) { t.Actions = TriggerActions{} })}},
		{name: "timeout", field: "channels[0].triggers[0].timeout_ms", rules: []Rule{hook(func(t *Trigger) { t.TimeoutMS = 30_001 })}},
		{name: "on_failure", field: "channels[0].triggers[0].on_failure", rules: []Rule{hook(func(t *Trigger) { t.OnFailure = "ignore" })}},
		{name: "secret", field: "channels[0].triggers[0].secret", rules: []Rule{hook(func(t *Trigger) { t.Secret = Secrets{"abc"} })}},
		{name: "short secret", field: "channels[0].triggers[0].secret", rules: []Rule{hook(func(t *Trigger) { t.Secret = Secrets{"whsec_AAAA"} })}},
		{name: "second secret", field: "channels[0].triggers[0].secret[1]", rules: []Rule{hook(func(t *Trigger) { t.Secret = Secrets{secret1, "whsec_!"} })}},
		{name: "many secrets", field: "channels[0].triggers[0].secret", rules: []Rule{hook(func(t *Trigger) { t.Secret = make(Secrets, 5) })}},
		{name: "a mask", field: "channels[0].triggers[0].secret", rules: []Rule{hook(func(t *Trigger) { t.Secret = Secrets{mask(secret1)} })}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.server
			if s.ID == 0 {
				s.ID, s.Hash = 1, "h"
			}
			s.Channels = c.rules
			_, err := Compile(s, Limits{})
			e, ok := errors.AsType[*FieldError](err)
			if !ok || e.Field != c.field {
				t.Errorf("error %v, want one of field %s", err, c.field)
			}
			if err != nil && strings.Contains(err.Error(), secret1) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	at := []Rule{{ID: 1, Pattern: strings.Repeat("a", 198), Wildcard: true, History: 1000}, {ID: 2, Pattern: strings.Repeat("é", 100)}}
	if _, err := Compile(Server{ID: 1, Hash: "h", Channels: at}, Limits{}); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	if _, err := Compile(Server{ID: 1, Hash: "h", Channels: []Rule{{ID: 1, Pattern: strings.Repeat("a", 300)}}}, Limits{ChannelBytes: 300}); err != nil {
		t.Errorf("with other limits: %v", err)
	}
}

func TestRuleJSON(t *testing.T) {
	r, err := DecodeRule([]byte(`{"pattern":"chat/*","pattern_join":"nobody","triggers":[{"url":"https://x.test","actions":{"message":true},"secret":"`+secret1+`"}]}`), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.ID = 5
	s := compiled(t, r)
	b, err := json.Marshal(s.Channels[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":5,"pattern":"chat","description":"","enabled":true,"wildcard":true,"anonymous_clients":false,"presence":false,` +
		`"client_public_messaging":false,"client_public_messaging_authenticated_only":false,"client_authenticated_messaging":false,` +
		`"client_private_messaging":false,"client_private_messaging_authenticated_only":false,"history":0,` +
		`"triggers":[{"url":"https://x.test","actions":{"join":false,"message":true},"secret":"` + secret1 + `","on_failure":"block"}]}`
	if string(b) != want {
		t.Errorf("rule is\n%s, want\n%s", b, want)
	}
	for in, want := range map[string]string{
		`"a"`: "a", `["a","b"]`: "a b", `[]`: "", `null`: "", `""`: "",
	} {
		var s Secrets
		if err := json.Unmarshal([]byte(in), &s); err != nil || strings.Join(s, " ") != want {
			t.Errorf("%s: %q, %v", in, []string(s), err)
		}
	}
	for _, in := range []string{`1`, `{}`, `[1]`} {
		if _, err := DecodeRule([]byte(`{"pattern":"a","triggers":[{"url":"https://x","secret":`+in+`}]}`), 0, nil); err == nil || !strings.Contains(err.Error(), "triggers[0].secret: must be a string or a list of strings") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	s := Secrets{secret1}
	tr := Trigger{URL: "https://x.test", Secret: s}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", tr, tr, tr, s), s.LogValue().String()} {
		if strings.Contains(text, secret1[6:]) {
			t.Errorf("%s", text)
		}
	}
}

func TestMasks(t *testing.T) {
	stored := compiled(t, Rule{ID: 1, Pattern: "a", Triggers: []Trigger{{
		URL: "https://x.test", Actions: TriggerActions{Join: true}, Secret: Secrets{secret1, secret2},
	}}})
	masked := stored.Masked()
	if got := masked.Channels[0].Triggers[0].Secret; got[0] == secret1 || got[0] == got[1] {
		t.Fatalf("masks %q", []string(got))
	}
	Unmask(masked.Channels, stored)
	if got := masked.Channels[0].Triggers[0].Secret; got[0] != secret1 || got[1] != secret2 {
		t.Errorf("unmasked %q", []string(got))
	}
	again := stored.Masked()
	Unmask(again.Channels, nil)
	if _, err := Compile(again, Limits{}); err == nil {
		t.Error("masks of nothing are taken")
	}
}

func TestDecodeKeepsWhatIsNotSaid(t *testing.T) {
	base := *compiled(t, Rule{ID: 7, Pattern: "a", Enabled: false}, Rule{ID: 8, Pattern: "b", Enabled: true})
	base.Name, base.Strict = "name", true
	for _, c := range []struct{ in, want string }{
		{`{}`, "name true h true 7a- 8b+"},
		{`{"channels":null,"name":null}`, "name true h true 7a- 8b+"},
		{`{"enabled":false,"hash":"x","strict":false,"name":""}`, " false x false 7a- 8b+"},
		{`{"channels":[]}`, "name true h true"},
		{`{"channels":[{"id":7,"pattern":"a"},{"id":8,"pattern":"b"},{"pattern":"c"}]}`, "name true h true 7a- 8b+ 0c+"},
		{`{"channels":[{"id":7,"pattern":"a","enabled":true},{"pattern":"c","enabled":false}]}`, "name true h true 7a+ 0c-"},
	} {
		s, err := DecodeServer([]byte(c.in), base)
		if err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		got := fmt.Sprint(s.Name, " ", s.Enabled, " ", s.Hash, " ", s.Strict)
		for _, r := range s.Channels {
			got += fmt.Sprintf(" %d%s%s", r.ID, r.Pattern, map[bool]string{true: "+", false: "-"}[r.Enabled])
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestAssignIDs(t *testing.T) {
	stored := compiled(t, Rule{ID: 7, Pattern: "a"}, Rule{ID: 8, Pattern: "b/*"}, Rule{ID: 9, Pattern: "c"})
	rules := []Rule{{Pattern: "b", Wildcard: true}, {Pattern: "a"}, {ID: 9, Pattern: "moved"}, {Pattern: "c"}, {Pattern: "new"}}
	next := int64(6) // 7 is taken
	AssignIDs(rules, stored, func() int64 { next++; return next })
	var got []int64
	for _, r := range rules {
		got = append(got, r.ID)
	}
	if s := fmt.Sprint(got); s != "[8 7 9 10 11]" {
		t.Errorf("ids %s", s)
	}
}

func TestBook(t *testing.T) {
	one, two := compiled(t), compiled(t)
	two.ID, two.Hash = 2, "other"
	b, err := NewBook(3, []*Server{two, one})
	if err != nil {
		t.Fatal(err)
	}
	if b.ByHash("h") != one || b.ByID(2) != two || b.ByHash("x") != nil || b.Servers()[0] != one || b.Revision != 3 {
		t.Errorf("book is %+v", b)
	}
	if _, err := NewBook(1, []*Server{one, one}); err == nil {
		t.Error("one number twice")
	}
	same := *two
	same.Hash = "h"
	if _, err := NewBook(1, []*Server{one, &same}); err == nil {
		t.Error("one hash twice")
	}
	var none *Book
	if none.ByHash("h") != nil || none.ByID(1) != nil || none.Servers() != nil {
		t.Error("no book has servers")
	}
}

func BenchmarkRule(b *testing.B) {
	var rules []Rule
	for i := range 500 {
		rules = append(rules, Rule{Pattern: fmt.Sprintf("base%d/x", i), Wildcard: i%2 == 0, Enabled: true})
	}
	s := compiled(b, rules...)
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Rule("base100/x/y/z")
	}
}
