package gateway

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkFlush is a batch of some messages written to many members, without what the system call costs.
func BenchmarkFlush(b *testing.B) {
	for _, messages := range []int{1, 16} {
		b.Run(fmt.Sprintf("1000x%d", messages), func(b *testing.B) {
			_, top, _ := room(b, 1000, 0)
			p := event("room", "payload")
			b.ReportAllocs()
			for b.Loop() {
				p.Accepted = time.Now()
				top.mu.Lock()
				for range messages {
					top.appendLocked(p.Accepted, p)
				}
				top.flushing = true
				top.mu.Unlock()
				top.flush(true)
			}
			b.ReportMetric(float64(b.N*1000*messages)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}
