//go:build !unix

package bench

import "time"

func ownCPU() time.Duration { return 0 }

// OpenFiles is how many descriptors this process may open; 0 = unknown.
func OpenFiles() uint64 { return 0 }
