package bench

import (
	"os"
	"strconv"
	"strings"
)

// ticks are the machine's since it started: all, and those in which a processor had nothing to do.
type ticks struct{ all, idle uint64 }

// machineTicks reads /proc/stat; zero where there is none.
func machineTicks() (t ticks) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil || i > 8 {
			continue // the name; guests are in user time already
		}
		t.all += n
		if i == 4 || i == 5 { // idle, waiting for a disk
			t.idle += n
		}
	}
	return t
}

// idleSince is the idle part of the machine since before, 0 to 1; -1 = unknown.
func (t ticks) idleSince(before ticks) float64 {
	if t.all <= before.all {
		return -1
	}
	return float64(t.idle-before.idle) / float64(t.all-before.all)
}
