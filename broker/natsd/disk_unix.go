//go:build linux || darwin

package natsd

import (
	"fmt"
	"syscall"
)

// diskSpace gives the size of the file system that holds dir, and what this process may still write to it.
func diskSpace(dir string) (size, free uint64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("disk of %s: %w", dir, err)
	}
	block := uint64(fs.Bsize)
	return fs.Blocks * block, fs.Bavail * block, nil
}
