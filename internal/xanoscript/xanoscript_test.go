package xanoscript_test

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"fanfare/internal/policy"
	"fanfare/internal/xanoscript"
)

const chat = `realtime_channel "chat" {
  description = "…"
  active = true
  public_messaging  = { active: true,  auth: false }
  private_messaging = { active: false, auth: false }
  settings = {
    anonymous_clients: true
    nested_channels: true
    message_history: 100
    auth_channel: false
    presence: true
  }
}
`

func TestParse(t *testing.T) {
	full := policy.Rule{
		Pattern: "chat", Description: "…", Enabled: true, Wildcard: true, AnonymousClients: true, Presence: true,
		ClientPublicMessaging: true, History: 100,
	}
	tests := []struct {
		name, in string
		want     []policy.Rule
		notes    []string
	}{
		{name: "empty", in: " \n// nothing\n"},
		{name: "documented", in: chat, want: []policy.Rule{full}},
		{name: "on one line", in: `realtime_channel room { active: false }`, want: []policy.Rule{{Pattern: "room"}}},
		{name: "least", in: `realtime_channel "room:*" {}`, want: []policy.Rule{{Pattern: "room:*", Enabled: true}}},
		{name: "target as shown", in: `realtime_channel "chat/*" {}`, want: []policy.Rule{{Pattern: "chat", Wildcard: true, Enabled: true}}},
		{name: "every other flag", in: `realtime_channel "x" {
			public_messaging = {auth: true} // comment
			private_messaging = {active: true
				auth: true}
			settings = {auth_channel: true}
		}`, want: []policy.Rule{{
			Pattern: "x", Enabled: true, ClientPublicMessagingAuthenticatedOnly: true, ClientPrivateMessaging: true,
			ClientPrivateMessagingAuthenticatedOnly: true, ClientAuthenticatedMessaging: true,
		}}},
		{
			name: "strings", in: "realtime_channel \"a\\\"b\\\\c\\u00e9\\n// no comment\" { description = \"\"\"two\n\"lines\" {\"\"\" }",
			want: []policy.Rule{{Pattern: "a\"b\\cé\n// no comment", Enabled: true, Description: "two\n\"lines\" {"}},
		},
		{name: "quoted fields", in: `realtime_channel "x" { "settings": { "presence": true, }, }`, want: []policy.Rule{{Pattern: "x", Enabled: true, Presence: true}}},
		{
			name: "last one wins", in: `realtime_channel "a" {}` + "\n" + `realtime_channel "b" {}` + "\n" + `realtime_channel "a" { active = false }`,
			want: []policy.Rule{{Pattern: "b", Enabled: true}, {Pattern: "a"}}, notes: []string{`line 3: realtime_channel "a" replaces the one before`},
		},
		{
			name: "the base is another", in: `realtime_channel "a" {} realtime_channel "a/*" {}`,
			want: []policy.Rule{{Pattern: "a", Enabled: true}, {Pattern: "a", Wildcard: true, Enabled: true}},
		},
		{
			name: "passed over", in: "workspace \"w\" {\n realtime = { canonical: \"x}\" }\n}\n" + chat + "realtime_trigger t {\n stack { $x = 'a' | b:(c > 1) \"}\" }\n}\n",
			want: []policy.Rule{full}, notes: []string{"line 1: block workspace is not imported", "line 17: block realtime_trigger is not imported"},
		},
		{
			name: "unknown fields", in: "realtime_channel \"x\" {\n tags = [\"a\", {b: 1}]\n settings = { colour: { r: 1 }, presence: true }\n}",
			want: []policy.Rule{{Pattern: "x", Enabled: true, Presence: true}}, notes: []string{"line 2: field tags is not imported", "line 3: field settings.colour is not imported"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := xanoscript.Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Rules, tt.want) {
				t.Errorf("rules %+v\n want %+v", got.Rules, tt.want)
			}
			var notes []string
			for _, n := range got.Notes {
				notes = append(notes, n.String())
			}
			if !reflect.DeepEqual(notes, tt.notes) {
				t.Errorf("notes %q, want %q", notes, tt.notes)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{}`, `1:1: "{", where a block`},
		{`realtime_channel`, `1:17: the end of the text, where the name`},
		{`realtime_channel "" {}`, `1:18: a string, where the name`},
		{`realtime_channel { }`, `1:18: "{", where the name`},
		{`realtime_channel "x"`, `1:21: the end of the text, where "{"`},
		{`realtime_channel "x" {`, `1:23: the end of the text, where a field`},
		{"realtime_channel \"x\" {\n  active = yes\n}", `2:12: active must be true or false`},
		{"realtime_channel \"x\" {\n  active = \"true\"\n}", `2:12: active must be true or false`},
		{"realtime_channel \"x\" {\n  active true\n}", `2:10: "true", where = or :`},
		{"realtime_channel \"x\" { active = true active = true }", `active is there twice`},
		{`realtime_channel "x" { description = 5 }`, `description must be a string`},
		{`realtime_channel "x" { settings = true }`, `"true", where "{" was expected`},
		{`realtime_channel "x" { settings = { message_history: 77 } }`, `1:54: message_history must be one of [0 25 50 100 250 1000]`},
		{`realtime_channel "x" { settings = { message_history: "100" } }`, `message_history must be one of`},
		{`realtime_channel "x" { settings = { presence: {} } }`, `settings.presence must be true or false`},
		{`realtime_channel "x/*" { settings = { nested_channels: false } }`, `nested_channels is false`},
		{`realtime_channel "x" { tags = [ { ] }`, `where the other bracket`},
		{`realtime_channel "x" { tags = [`, `"[" does not end`},
		{`realtime_channel "x" { tags = ? }`, `"?", where a value`},
		{`realtime_channel "x`, `1:18: this string does not end`},
		{"realtime_channel \"x\n\" {}", `1:18: this string does not end on its line`},
		{`realtime_channel """x {}`, `1:18: this string does not end`},
		{`realtime_channel "\q" {}`, `1:19: unknown escape \q`},
		{`realtime_channel "\u12" {}`, `1:19: \u needs four`},
		{`realtime_channel "\`, `this string does not end`},
		{`function f {`, `1:1: the block function does not end`},
		{`function f }`, `"}" without its opening`},
		{"function f {\nrealtime_channel \"x\" {}", `2:1: realtime_channel inside the block function, which began in line 1`},
		{`function f ` + strings.Repeat("{", 65), `nested deeper than 64`},
		{`realtime_channel "x" { tags = ` + strings.Repeat("[", 65), `nested deeper than 64`},
		{"\xff", `not valid UTF-8`},
	} {
		_, err := xanoscript.Parse([]byte(tt.in))
		var syntax *xanoscript.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.in, err, tt.want)
		}
	}
}

func TestFormat(t *testing.T) {
	want, err := os.ReadFile("testdata/format.xs")
	if err != nil {
		t.Fatal(err)
	}
	got := xanoscript.Format([]policy.Rule{
		{Pattern: "chat", Description: "say \"hi\"\n", Enabled: true, Wildcard: true, AnonymousClients: true, Presence: true, ClientPublicMessaging: true, History: 100},
		{Pattern: "a\\b", ClientPublicMessagingAuthenticatedOnly: true, ClientPrivateMessaging: true, ClientPrivateMessagingAuthenticatedOnly: true, ClientAuthenticatedMessaging: true},
	})
	if !bytes.Equal(got, want) {
		t.Errorf("%s", got)
	}
}

func TestLost(t *testing.T) {
	if got := xanoscript.Lost(&policy.Rule{Pattern: "x", History: 25}); got != nil {
		t.Errorf("%q", got)
	}
	got := xanoscript.Lost(&policy.Rule{HistoryTTL: 1, PatternJoin: policy.PatternJoinAnyone, Triggers: []policy.Trigger{{}}, RateLimit: 1})
	if want := []string{"history_ttl", "pattern_join", "triggers", "rate_limit"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// FuzzParse: any text is answered; what is accepted comes back the same from Format.
func FuzzParse(f *testing.F) {
	f.Add([]byte(chat))
	f.Add([]byte("function f { \"\"\"}\"\"\" [ ] }\nrealtime_channel x { tags = [ {} ], description: \"\\u00e9\" }"))
	f.Add([]byte(`realtime_channel "a/*" { settings = { nested_channels: true } } // end`))
	f.Add([]byte(`realtime_channel "a/*/*" {}`))
	f.Add([]byte("realtime_channel \"\\ud800\\n\" {}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := xanoscript.Parse(text)
		if err != nil {
			var syntax *xanoscript.SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Line > bytes.Count(text, []byte("\n"))+1 || !utf8.ValidString(syntax.Text) {
				t.Fatalf("%#v", err)
			}
			return
		}
		written := xanoscript.Format(got.Rules)
		again, err := xanoscript.Parse(written)
		if err != nil {
			t.Fatalf("%v in\n%s", err, written)
		}
		if !reflect.DeepEqual(again.Rules, got.Rules) || len(again.Notes) != 0 {
			t.Fatalf("%+v\n%+v\n%s", got.Rules, again, written)
		}
	})
}
