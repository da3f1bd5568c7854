package presence

import (
	"errors"
	"strings"
	"testing"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

func FuzzKey(f *testing.F) {
	for _, k := range []string{
		"1.room1.=.nodeaaaa-1.nodeaaaas1", "2.chat.=2A.=.node_-aa-12.s", "1.=-.a.=.=.x", "1.a.=._b.nodeaaaa", "_b.nodeaaaa",
		"1.a.=.nodeaaaa-01.s", "0.a.=.nodeaaaa-1.s", "-1.a.=.nodeaaaa-1.s", "1.a.=.nodeaaaa-1.s.t", "1.a.=.nodeaaaa-1.s*", "1.>.=.nodeaaaa-1.s", "",
	} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, k string) {
		p, err := parseKey(k)
		if err != nil {
			if !errors.Is(err, errKey) {
				t.Fatalf("%v", err)
			}
			return
		}
		topic := protocol.Topic{Server: p.server, Channel: p.channel}
		if back := head(topic) + p.gw + "." + string(p.session); back != k {
			t.Fatalf("%q came back as %q", k, back)
		}
		if gw, session, err := parseTail(strings.TrimPrefix(k, head(topic))); err != nil || gw != p.gw || session != p.session {
			t.Fatalf("tail of %q: %s %s %v", k, gw, session, err)
		}
		node, gen, err := parseGateway(p.gw)
		if err != nil || gateway(node, gen) != p.gw {
			t.Fatalf("gateway %q: %s %d %v", p.gw, node, gen, err)
		}
		if strings.ContainsAny(k, "*> \t\r\n") {
			t.Fatalf("%q is no subject", k)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{channel: "a/b", session: "nodeaaaas1"}.String())
	f.Add(cursor{remote: true, shard: 3, seq: 77}.String())
	f.Add("bw")
	f.Add("===")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err != nil {
			if !errors.Is(err, ErrCursor) {
				t.Fatal(err)
			}
			return
		}
		if s == "" {
			return
		}
		again, err := parseCursor(c.String())
		if err != nil || again != c {
			t.Fatalf("%q: %+v, again %+v, %v", s, c, again, err)
		}
	})
}

func FuzzEntryUser(f *testing.F) {
	f.Add([]byte(`{"socketId":"a","extras":{},"permissions":{"dbo_id":17,"row_id":3}}`))
	f.Add([]byte(`{"permissions":{"dbo_id":17,"row_id":"9f0c"}}`))
	f.Add([]byte(`{"permissions":{"dbo_id":0,"row_id":0}}`))
	f.Add([]byte(`{"permissions":null}`))
	f.Add([]byte(`[1`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, ok := userOf(b); ok && (u.dbo == 0 || u.row == "") {
			t.Fatalf("%s is nobody", b)
		}
	})
}

func TestShardsAreUsedEvenly(t *testing.T) {
	var n [4]int
	for i := range 4000 {
		n[shardOf(protocol.Topic{Server: 1, Channel: protocol.Channel("room" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)))}, 4)]++
	}
	for shard, c := range n {
		if c < 700 {
			t.Errorf("shard %d has %d of 4000", shard, c)
		}
	}
	if subject.Shards%4 != 0 {
		t.Error("4 is no divisor")
	}
}
