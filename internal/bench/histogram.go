package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram keeps durations to within 0.8 %: linear within each power of two, in fixed memory however long a run
// takes. What exceeds its range counts as its end.
const (
	subBits  = 7
	sub      = 1 << subBits
	topBit   = 40 // of nanoseconds: 18 minutes
	nBuckets = (topBit - subBits + 1) * sub
)

type histogram struct {
	counts [nBuckets]atomic.Uint64
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v >= 1<<topBit {
		v = 1<<topBit - 1
	}
	if v < sub {
		return int(v)
	}
	exp := bits.Len64(v) - subBits - 1
	return exp<<subBits + int(v>>exp) //nolint:mnd // v>>exp has the bits sub to 2*sub-1
}

// bound is the largest duration of a bucket.
func bound(bucket int) time.Duration {
	if bucket < 2*sub {
		return time.Duration(bucket)
	}
	exp := bucket>>subBits - 1
	return time.Duration(uint64(bucket-exp<<subBits+1)<<exp - 1)
}

func (h *histogram) record(d time.Duration) { h.counts[bucketOf(d)].Add(1) }

// Latency is a distribution, in milliseconds.
type Latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// summarize merges histograms; nil when nothing was recorded.
func summarize(parts ...*histogram) *Latency {
	merged := make([]uint64, nBuckets)
	var l Latency
	var sum float64
	for _, h := range parts {
		for i := range h.counts {
			if n := h.counts[i].Load(); n > 0 {
				merged[i] += n
				l.Count += n
				sum += float64(n) * float64(bound(i))
			}
		}
	}
	if l.Count == 0 {
		return nil
	}
	l.Mean = milliseconds(time.Duration(sum / float64(l.Count)))
	at := func(quantile float64) float64 {
		rank := min(uint64(quantile*float64(l.Count)), l.Count-1)
		for i, n := range merged {
			if rank < n {
				return milliseconds(bound(i))
			}
			rank -= n
		}
		return 0
	}
	l.P50, l.P90, l.P99, l.P999 = at(0.5), at(0.9), at(0.99), at(0.999)
	for i := nBuckets - 1; i >= 0; i-- {
		if merged[i] > 0 {
			l.Max = milliseconds(bound(i))
			break
		}
	}
	return &l
}
