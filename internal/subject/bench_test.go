package subject

import (
	"testing"

	"fanfare/protocol"
)

var liveSubject = Live(protocol.Topic{Server: 1, Channel: "chat/sports"})

var mappings = []struct {
	name   string
	allocs float64 // most: the bytes and the text of what is returned
	do     func()
}{
	{"live", 2, func() { Live(protocol.Topic{Server: 1, Channel: "chat/sports"}) }},
	{"live escaped", 2, func() { Live(protocol.Topic{Server: 1, Channel: "chat/Zürich 1.FC"}) }},
	{"decode live", 2, func() { _, _, _ = DecodeLive(liveSubject) }},
	{"stored", 2, func() { Stored(1, "chat/sports") }},
	{"shard", 0, func() { Shard(1, "chat/sports") }},
	{"offset", 0, func() { _, _ = SplitOffset(Offset(3, 42)) }},
	{"presence key", 2, func() { PresenceKey(1, "chat/sports", "nodeaaaa", "nodeaaaa0000000000000000") }},
}

func TestMappingAllocations(t *testing.T) {
	for _, m := range mappings {
		if got := testing.AllocsPerRun(200, m.do); got > m.allocs {
			t.Errorf("%s: %v allocations, at most %v", m.name, got, m.allocs)
		}
	}
}

func BenchmarkMapping(b *testing.B) {
	for _, m := range mappings {
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.do()
			}
		})
	}
}
