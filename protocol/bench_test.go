package protocol_test

import (
	"strings"
	"testing"

	"fanfare/protocol"
)

var decodeInputs = []struct {
	name, frame string
	allocs      float64 // most: one for each of channel, socketId and ref, whose text must outlive the read buffer
}{
	{"message", `{"action":"message","options":{"channel":"chat/sports"},"payload":{"text":"hello, world","n":[1,2,3]}}`, 1},
	{"weweb", `{"action":"message","options":{"authenticated":false,"socketId":null,"channel":"chat/sports"},"payload":"hello"}`, 1},
	{"ref", `{"action":"message","options":{"channel":"chat/sports","ref":"0123456789abcdef"},"payload":"hello"}`, 2},
	{"private", `{"action":"message","options":{"channel":"chat/sports","socketId":"gate0001aaaaaaaaaaaaaaaa"},"payload":"hello"}`, 2},
	{"presence", `{"action":"presence_update","options":{"channel":"chat/sports"},"payload":{"data":{"x":1,"y":2}}}`, 1},
	{"4KiB", `{"action":"message","options":{"channel":"chat/sports"},"payload":"` + strings.Repeat("x", 4096) + `"}`, 1},
	{"deep", `{"action":"message","options":{"channel":"chat/sports"},"payload":` + strings.Repeat(`{"a":[`, 60) + strings.Repeat(`]}`, 60) + `}`, 1},
}

func TestDecodeAllocations(t *testing.T) {
	for _, in := range decodeInputs {
		b := []byte(in.frame)
		if got := testing.AllocsPerRun(200, func() { _, _ = protocol.Decode(b, 128) }); got > in.allocs {
			t.Errorf("%s: %v allocations, at most %v", in.name, got, in.allocs)
		}
	}
	join := []byte(`{"history":true,"presence":true,"resume":{"offset":"42"}}`)
	if got := testing.AllocsPerRun(200, func() { _, _ = protocol.DecodeJoin(join) }); got > 0 {
		t.Errorf("join: %v allocations", got)
	}
}

func TestEncodeAllocations(t *testing.T) {
	dst := make([]byte, 0, 4096)
	payload := []byte(`{"text":"hello, world"}`)
	p := message("chat/sports", protocol.Audience{}, jo, string(payload), 42)
	position := protocol.Position{Epoch: "e7", Offset: 42}
	page := []*protocol.Publication{p, p}
	for name, encode := range map[string]func(){
		"message":     func() { protocol.AppendMessage(dst, "chat/sports", protocol.Audience{}, "m1", jo, payload) },
		"event":       func() { protocol.AppendEvent(dst, "chat/sports", protocol.Audience{}, "e1", payload) },
		"publication": func() { protocol.AppendPublication(dst, p) },
		"pattern":     func() { protocol.AppendForPattern(dst, p, "chat/*") },
		"history":     func() { protocol.AppendHistory(dst, "chat/sports", page, protocol.HistoryHasMore) },
		"join":        func() { protocol.AppendJoin(dst, "chat/sports", jo, true, position, protocol.ResumedWhole) },
		"ack":         func() { protocol.AppendAck(dst, "chat/sports", "r1", "m1", 42) },
		"error":       func() { protocol.AppendError(dst, "chat/sports", "r1", protocol.ErrNotJoined) },
		"member":      func() { protocol.AppendMember(dst, jo, "chat/sports") },
	} {
		if got := testing.AllocsPerRun(200, encode); got > 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, in := range decodeInputs {
		b.Run(in.name, func(b *testing.B) {
			frame := []byte(in.frame)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, failed := protocol.Decode(frame, 128); failed != nil {
					b.Fatal(failed)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	dst := make([]byte, 0, 4096)
	payload := []byte(`{"text":"hello, world"}`)
	p := message("chat/sports", protocol.Audience{}, jo, string(payload), 42)
	b.Run("message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.AppendMessage(dst, "chat/sports", protocol.Audience{}, "m1", jo, payload)
		}
	})
	b.Run("publication", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.AppendPublication(dst, p)
		}
	})
	b.Run("pattern", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.AppendForPattern(dst, p, "chat/*")
		}
	})
}
