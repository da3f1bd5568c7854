package bench

import (
	"syscall"
	"time"
)

// pause blocks the thread: it wakes within some ten microseconds, where the runtime's timers take up to a millisecond.
func pause(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil) // interrupted: the caller looks at the clock
}
