package envelope

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"fanfare/protocol"
)

func sample() *protocol.Publication {
	return &protocol.Publication{
		Server: 3, Channel: "chat/日本", Kind: protocol.KindMessage,
		Audience: protocol.Audience{Kind: protocol.User, DboID: -12, RowID: `"u-1"`, Session: "n2345678zzz"},
		Origin:   "n1234567", Sender: "n1234567abcdefghijklmnop", Accepted: time.Unix(1700000000, 123456789),
		ID: "01HXXXXXXX", Frame: []byte(`{"action":"message","options":{"channel":"chat/日本"},"payload":1}`), Splice: 20,
		TTL: 90 * time.Second,
	}
}

func TestRoundTrip(t *testing.T) {
	for _, p := range []*protocol.Publication{sample(), {Server: 1, Channel: "x", Kind: protocol.KindEvent, Accepted: time.Unix(0, 1), Frame: []byte("{}")}} {
		numbered := Numbered(p)
		SetNumber(numbered, 1<<40+7)
		for number, b := range map[uint64][]byte{0: Append(nil, p), 1<<40 + 7: numbered} {
			if len(b) > Size(p) {
				t.Errorf("Size is %d, the envelope has %d bytes", Size(p), len(b))
			}
			var got protocol.Publication
			if err := Decode(b, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(&got, p) {
				t.Errorf("got %+v, want %+v", got, p)
			}
			if origin, n, err := Origin(b); err != nil || string(origin) != string(p.Origin) || n != number {
				t.Errorf("Origin is %q, %d, %v", origin, n, err)
			}
			for n := range len(b) - len(p.Frame) + p.Splice {
				if Decode(b[:n], &got) == nil {
					t.Errorf("the first %d of %d bytes decode", n, len(b))
				}
			}
		}
	}
	if err := Decode([]byte("\x03xxxxxxxxxxxxxxxxx"), &protocol.Publication{}); err == nil {
		t.Error("an unknown version decodes")
	}
}

// TestOlder: what the first version has stored is read for ever.
func TestOlder(t *testing.T) {
	stored, err := hex.DecodeString("0101020317979cfe3d85cd1590bf051417080b0a18050b6e31323334353637636861742fe697a5e69cac303148585858585858586e313233343536" +
		"376162636465666768696a6b6c6d6e6f7022752d31226e323334353637387a7a7a7b22616374696f6e223a226d657373616765222c226f7074696f6e73223a7b22636861" +
		"6e6e656c223a22636861742fe697a5e69cac227d2c227061796c6f6164223a317d")
	if err != nil {
		t.Fatal(err)
	}
	var got protocol.Publication
	if err := Decode(stored, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, sample()) {
		t.Errorf("got %+v", got)
	}
}

// TestAllocations: one for the texts, none besides.
func TestAllocations(t *testing.T) {
	b := Append(nil, sample())
	var p protocol.Publication
	if n := testing.AllocsPerRun(100, func() { _ = Decode(b, &p) }); n > 1 {
		t.Errorf("Decode allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = Origin(b) }); n > 0 {
		t.Errorf("Origin allocates %v times", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, sample()))
	f.Add(Numbered(sample()))
	f.Add([]byte{1, 1, 0})
	f.Add([]byte{2, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again protocol.Publication
		if Decode(b, &p) != nil {
			return
		}
		if p.Splice > len(p.Frame) {
			t.Fatalf("splice %d in a frame of %d bytes", p.Splice, len(p.Frame))
		}
		c := Append(nil, &p)
		if err := Decode(c, &again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Frame, again.Frame) || p.ID != again.ID || p.Channel != again.Channel || !p.Accepted.Equal(again.Accepted) || p.TTL != again.TTL {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	p := sample()
	buf := make([]byte, 0, Size(p))
	for b.Loop() {
		buf = Append(buf[:0], p)
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	buf := Append(nil, sample())
	var p protocol.Publication
	for b.Loop() {
		_ = Decode(buf, &p)
	}
}
