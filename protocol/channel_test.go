package protocol_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"fanfare/protocol"
)

func TestParseChannel(t *testing.T) {
	tests := []struct {
		name string
		want error
	}{
		{"room1", nil},
		{"a.b", nil},
		{"a b", nil},
		{"a*", nil},
		{">", nil},
		{"*", nil},
		{"/", nil},
		{"a//b", nil},
		{"\x00", nil},
		{"é", nil},
		{"", protocol.ErrChannelEmpty},
		{strings.Repeat("x", 200), nil},
		{strings.Repeat("x", 201), protocol.ErrChannelLong},
		{strings.Repeat("é", 100), nil},
		{strings.Repeat("é", 101), protocol.ErrChannelLong},
		{strings.Repeat("/", 15), nil},
		{strings.Repeat("/", 16), protocol.ErrChannelSegments},
		{"a\xff", protocol.ErrChannelUTF8},
	}
	for _, tt := range tests {
		got, err := protocol.ParseChannel(tt.name, 200, 16)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%q: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && string(got) != tt.name {
			t.Errorf("%q became %q", tt.name, got)
		}
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		pattern, name protocol.Channel
		want          bool
	}{
		{"chat/*", "chat/sports", true},
		{"chat/*", "chat/sports/uk", true},
		{"chat/*", "chat//", true},
		{"chat/*", "chat", false},
		{"chat/*", "chat/", false},
		{"chat/*", "chats/a", false},
		{"chat/*", "Chat/a", false},
		{"chat", "chat/a", false},
		{"chat", "chat", false},
		{"*", "chat", false},
		{"/*", "/a", false},
		{"//*", "//a", true},
		{"a*", "ab", false},
		{"a/b*", "a/bc", false},
		{"a/*/*", "a/*/b", true},
		{"a/*/*", "a/b/c", false},
	}
	for _, tt := range tests {
		if got := tt.pattern.Covers(tt.name); got != tt.want {
			t.Errorf("%q covers %q: %v", tt.pattern, tt.name, got)
		}
	}
}

func FuzzChannel(f *testing.F) {
	for _, s := range []string{"room1", "chat/*", "chat/a", "*", "/*", "a//b", "\xff", strings.Repeat("/", 20)} {
		f.Add(s, s+"/x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		c, err := protocol.ParseChannel(a, 200, 16)
		valid := a != "" && len(a) <= 200 && strings.Count(a, "/") < 16 && utf8.ValidString(a)
		if (err == nil) != valid {
			t.Fatalf("%q: %v", a, err)
		}
		if err != nil {
			return
		}
		if string(c) != a {
			t.Fatalf("%q became %q", a, c)
		}
		base, pattern := strings.CutSuffix(a, "/*")
		if pattern = pattern && base != ""; c.IsPattern() != pattern {
			t.Fatalf("%q is a pattern: %v", a, c.IsPattern())
		}
		want := pattern && strings.HasPrefix(b, base+"/") && len(b) > len(base)+1
		if got := c.Covers(protocol.Channel(b)); got != want {
			t.Fatalf("%q covers %q: %v", a, b, got)
		}
		if pattern && c.Base() != base || !pattern && c.Base() != a {
			t.Fatalf("base of %q: %q", a, c.Base())
		}
	})
}
