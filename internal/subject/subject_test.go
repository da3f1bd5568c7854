package subject

import (
	"regexp"
	"strings"
	"testing"

	"fanfare/protocol"
)

func TestEncode(t *testing.T) {
	for name, want := range map[string]string{
		"room1":       "room1",
		"chat/sports": "chat.sports",
		"chat/日本":     "chat.=E6=97=A5=E6=9C=AC",
		"a.b":         "a=2Eb",
		"a b":         "a=20b",
		"A/b":         "A.b",
		"a*":          "a=2A",
		">":           "=3E",
		"*":           "=2A",
		"=":           "=3D",
		"/":           "=-.=-",
		"a//b":        "a.=-.b",
		"a/":          "a.=-",
		"-":           "-",
		"=-":          "=3D-",
		"a\x00b":      "a=00b",
	} {
		if got := Encode(name); got != want {
			t.Errorf("Encode(%q) = %q, want %q", name, got, want)
		}
		if back, err := Decode(want); err != nil || back != name {
			t.Errorf("Decode(%q) = %q, %v, want %q", want, back, err, name)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "=", "a.=", "=2", "=2a", "=41", "=2F", "a*", ">", "a b", "=--", "a=-", "=-=-", "é"} {
		if back, err := Decode(bad); err == nil {
			t.Errorf("Decode(%q) = %q, want an error", bad, back)
		}
	}
}

func TestNames(t *testing.T) {
	topic := protocol.Topic{Server: 7, Channel: "chat/*"}
	plain := protocol.Topic{Server: 7, Channel: "chat/a"}
	for got, want := range map[string]string{
		Live(topic):                            "fanfare.o.7.chat.>",
		Live(plain):                            "fanfare.o.7.chat.a",
		StoredIn(3, 7, "chat/*"):               "fanfare.h.3.7.chat.>",
		StoredServer(3, 7):                     "fanfare.h.3.7.>",
		StreamSubjects(3):                      "fanfare.h.3.>",
		Stream(3):                              "FANFARE_HISTORY_3",
		Presence(topic):                        "fanfare.p.7.chat.>",
		Presence(plain):                        "fanfare.p.7.chat.a.=.>",
		PresenceKey(7, "a b", "node1234", "s"): "7.a=20b.=.node1234.s",
		PresenceKeysOf("node1234", 2):          "*.*.*.=.node1234.>",
		Live(protocol.Topic{Server: 1, Channel: "*"}):    "fanfare.o.1.=2A",
		Live(protocol.Topic{Server: 1, Channel: "a*/*"}): "fanfare.o.1.a=2A.>",
		Live(protocol.Topic{Server: 1, Channel: "/*"}):   "fanfare.o.1.=-.=2A",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if shard, ok := ShardOf("FANFARE_HISTORY_7"); !ok || shard != 7 {
		t.Error("ShardOf does not reverse Stream")
	}
	for _, bad := range []string{"FANFARE_HISTORY_8", "FANFARE_HISTORY_07", "FANFARE_HISTORY_", "KV_fanfare_meta"} {
		if _, ok := ShardOf(bad); ok {
			t.Errorf("ShardOf(%q) is ok", bad)
		}
	}
}

// TestShard pins the mapping: it is part of what is stored.
func TestShard(t *testing.T) {
	seen := map[int]int{}
	for _, name := range []string{"room1", "chat/a", "chat/b", "x", "日本", ""} {
		seen[Shard(1, protocol.Channel(name))]++
	}
	if Shard(1, "room1") != 5 || Shard(2, "room1") != 4 || Shard(1, "chat/a") != 3 {
		t.Errorf("the shard of a channel changed: %d %d %d", Shard(1, "room1"), Shard(2, "room1"), Shard(1, "chat/a"))
	}
	if shard, seq := SplitOffset(Offset(5, 1234567)); shard != 5 || seq != 1234567 {
		t.Error("SplitOffset does not reverse Offset")
	}
	if Offset(5, 0) != 0 {
		t.Error("nothing stored must be offset 0")
	}
}

// TestHashTag: channels with the same tag live in the same shard, and nothing else counts as a tag.
func TestHashTag(t *testing.T) {
	for name, want := range map[protocol.Channel]protocol.Channel{
		"{a}": "a", "{a}/b": "a", "x/{a}/b": "a", "{a}{b}": "a", "{{a}}": "{a", "a}{b}": "b", "a/{b/c}": "b/c",
		"{}a": "{}a", "{}{a}": "{}{a}", "{a": "{a", "a}": "a}", "a": "a", "": "",
	} {
		if got := hashTag(name); got != want {
			t.Errorf("hashTag(%q) = %q, want %q", name, got, want)
		}
		if Shard(3, name) != Shard(3, want) {
			t.Errorf("%q and %q live in different shards", name, want)
		}
	}
}

func TestCheck(t *testing.T) {
	if Check("") == nil || Check(protocol.Channel(strings.Repeat("x", MaxChannelBytes+1))) == nil {
		t.Error("a name that cannot be a subject passed")
	}
	long := protocol.Channel(strings.Repeat("*", MaxChannelBytes))
	if err := Check(long); err != nil {
		t.Error(err)
	}
	if n := len("HPUB fanfare.p." + PresenceKey(1<<62, long, "node1234", "node1234abcdefghijklmnop")); n > 4000 {
		t.Errorf("the longest subject has %d bytes: the control line is too long", n)
	}
}

var allowed = regexp.MustCompile(`^[-/_=.A-Za-z0-9]+$`)

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"room1", "chat/日本", "a.b", "*", ">", "/", "", "=-", "a//b", "\xff\x00", "$SYS"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ea, eb := Encode(a), Encode(b)
		if !allowed.MatchString(ea) || len(ea) > 3*len(a)+2 {
			t.Fatalf("Encode(%q) = %q", a, ea)
		}
		for token := range strings.SplitSeq(ea, ".") {
			if token == "" || token == "=" {
				t.Fatalf("Encode(%q) = %q holds token %q", a, ea, token)
			}
		}
		if back, err := Decode(ea); err != nil || back != a {
			t.Fatalf("Decode(%q) = %q, %v, want %q", ea, back, err, a)
		}
		if (ea == eb) != (a == b) {
			t.Fatalf("%q and %q meet in %q", a, b, ea)
		}
		if a == "" {
			return
		}
		c := protocol.Channel(a)
		if !c.IsPattern() {
			server, back, err := DecodeLive(Live(protocol.Topic{Server: 3, Channel: c}))
			if err != nil || server != 3 || back != c {
				t.Fatalf("live subject of %q: %d %q %v", a, server, back, err)
			}
			server, back, err = DecodeStored(Stored(3, c))
			if err != nil || server != 3 || back != c {
				t.Fatalf("stored subject of %q: %d %q %v", a, server, back, err)
			}
		}
		e, err := DecodePresenceKey(PresenceKey(3, c, "node1234", "sess-_1"))
		if err != nil || e != (PresenceEntry{3, c, "node1234", "sess-_1"}) {
			t.Fatalf("presence key of %q: %+v %v", a, e, err)
		}
		// A pattern's filter matches the live subject of whatever it covers, and nothing of others but the
		// empty segment right below the base.
		pattern := protocol.Channel(a + "/*")
		if name := protocol.Channel(b); b != "" && !name.IsPattern() {
			filter := strings.TrimSuffix(Live(protocol.Topic{Server: 3, Channel: pattern}), ">")
			matches := strings.HasPrefix(Live(protocol.Topic{Server: 3, Channel: name}), filter)
			if matches != (pattern.Covers(name) || b == a+"/") {
				t.Fatalf("filter of %q and %q: %t", pattern, name, matches)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"room1", "=2A", "=-", "a.=-.b", "=", "=41", "..", "1.a.=.node.session"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := Decode(s); err == nil && Encode(name) != s {
			t.Fatalf("%q decodes to %q, which encodes to %q", s, name, Encode(name))
		}
		if e, err := DecodePresenceKey(s); err == nil && PresenceKey(e.Server, e.Channel, e.Node, e.Session) != s {
			t.Fatalf("%q decodes to %+v", s, e)
		}
	})
}

func BenchmarkLive(b *testing.B) {
	b.ReportAllocs()
	topic := protocol.Topic{Server: 1, Channel: "chat/sports"}
	for b.Loop() {
		Live(topic)
	}
}
