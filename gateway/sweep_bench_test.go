package gateway

import (
	"strconv"
	"testing"
	"time"

	"fanfare/protocol"
)

// BenchmarkSweep looks at 100 000 topics that are in use, of two members each.
func BenchmarkSweep(b *testing.B) {
	s, first, _ := room(b, 2, 0)
	h := s.hub
	const topics = 100_000
	for i := range topics {
		key := protocol.Topic{Server: first.key.Server, Channel: protocol.Channel("room" + strconv.Itoa(i))}
		t := &topic{hub: h, key: key, ready: first.ready, users: 2, members: append([]*subscription(nil), first.members...)}
		t.rule.Store(first.rule.Load())
		h.shard(key).topics[key] = t
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		h.sweep(now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/topics, "ns/topic")
	for i := range h.shards {
		clear(h.shards[i].topics)
	}
}
