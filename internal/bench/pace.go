package bench

import (
	"context"
	"time"
)

// schedule is when things are due: open loop, so that whatever holds one of them up does not move the next.
type schedule struct {
	start time.Duration // of the run's clock
	rate  float64       // a second; 0 = all at once
}

func (s schedule) due(n int64) time.Duration {
	if s.rate == 0 {
		return s.start
	}
	return s.start + time.Duration(float64(n)/s.rate*float64(time.Second))
}

// within is how many are due before a time.
func (s schedule) within(d time.Duration) int64 {
	n := int64(s.rate * d.Seconds())
	for s.due(n) < s.start+d {
		n++
	}
	return n
}

// coarse is what the runtime's timers may be late by; what is nearer is waited for by the thread.
const coarse = 3 * time.Millisecond

// await waits until the run's clock is at due. It tells how late it is.
func (r *run) await(ctx context.Context, due time.Duration) (lateness time.Duration, err error) {
	left := due - r.now()
	if left > coarse {
		timer := time.NewTimer(left - coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		left = due - r.now()
	}
	for left > 0 {
		pause(left)
		left = due - r.now()
	}
	return -left, ctx.Err()
}
