package protocol_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"fanfare/protocol"
)

func TestParseRowID(t *testing.T) {
	tests := []struct{ in, json, text string }{
		{``, `0`, `0`},
		{`null`, `0`, `0`},
		{`0`, `0`, `0`},
		{`-0`, `0`, `0`},
		{`""`, `0`, `0`},
		{`"0"`, `0`, `0`},
		{`42`, `42`, `42`},
		{`"42"`, `42`, `42`},
		{`-7`, `-7`, `-7`},
		{`"042"`, `"042"`, `042`},
		{`"+42"`, `"+42"`, `+42`},
		{`" 42"`, `" 42"`, ` 42`},
		{`"4.0"`, `"4.0"`, `4.0`},
		{`9223372036854775807`, `9223372036854775807`, `9223372036854775807`},
		{`"9223372036854775808"`, `"9223372036854775808"`, `9223372036854775808`},
		{`"9f0c4d1e-5b7a"`, `"9f0c4d1e-5b7a"`, `9f0c4d1e-5b7a`},
		{`"\u0041"`, `"A"`, `A`},
		{`"A"`, `"A"`, `A`},
		{` 5 `, `5`, `5`},
	}
	for _, tt := range tests {
		got, err := protocol.ParseRowID([]byte(tt.in))
		if err != nil || got.JSON() != tt.json || got.Text() != tt.text {
			t.Errorf("%s: %s %s %v", tt.in, got.JSON(), got.Text(), err)
		}
	}
	for _, in := range []string{`1.5`, `1e3`, `9223372036854775808`, `true`, `{}`, `[1]`, `+5`, `007`, `"x`, `"x"y`, `abc`} {
		if got, err := protocol.ParseRowID([]byte(in)); err == nil {
			t.Errorf("%s became %s", in, got.JSON())
		}
	}
}

func TestIdentitySame(t *testing.T) {
	i := protocol.Identity{Authenticated: true, DboID: 17, RowID: protocol.RowIDFromString("3")}
	if !i.Same(17, protocol.RowIDFromInt(3)) || i.Same(17, protocol.RowIDFromInt(4)) || i.Same(18, protocol.RowIDFromInt(3)) {
		t.Error("not the user itself")
	}
	if (&protocol.Identity{}).Same(0, "") {
		t.Error("an anonymous client is no user")
	}
}

func FuzzRowID(f *testing.F) {
	for _, s := range []string{"", "0", "42", "-1", "9f0c-uuid", "a\"b", "\xff", " 5", "<&>", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id := protocol.RowIDFromString(text)
		if utf8.ValidString(text) {
			want := text
			if text == "" {
				want = "0"
			}
			if id.Text() != want {
				t.Fatalf("%q became %q", text, id.Text())
			}
		}
		b, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		var back protocol.RowID
		if err := json.Unmarshal(b, &back); err != nil || back != id {
			t.Fatalf("%s came back as %s: %v", id, back, err)
		}
		// Any JSON text gives one canonical value, or an error.
		got, err := protocol.ParseRowID([]byte(text))
		if err != nil {
			return
		}
		if again, err := protocol.ParseRowID([]byte(got.JSON())); err != nil || again != got {
			t.Fatalf("%q: %s, then %s, %v", text, got, again, err)
		}
		if s := strings.TrimSpace(text); s != "" && !json.Valid([]byte(s)) {
			t.Fatalf("%q is no JSON and became %s", text, got)
		}
	})
}
