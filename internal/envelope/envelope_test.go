package envelope

import (
	"bytes"
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
		b := Append(nil, p)
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
		if origin, err := Origin(b); err != nil || string(origin) != string(p.Origin) {
			t.Errorf("Origin is %q, %v", origin, err)
		}
		for n := range len(b) - len(p.Frame) + p.Splice {
			if Decode(b[:n], &got) == nil {
				t.Errorf("the first %d of %d bytes decode", n, len(b))
			}
		}
	}
	if err := Decode([]byte("\x02xxxxxxxxxxxxxxxxx"), &protocol.Publication{}); err == nil {
		t.Error("an unknown version decodes")
	}
}

// TestAllocations: one for the texts, none besides.
func TestAllocations(t *testing.T) {
	b := Append(nil, sample())
	var p protocol.Publication
	if n := testing.AllocsPerRun(100, func() { _ = Decode(b, &p) }); n > 1 {
		t.Errorf("Decode allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = Origin(b) }); n > 0 {
		t.Errorf("Origin allocates %v times", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, sample()))
	f.Add([]byte{1, 1, 0})
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
