//go:build !linux && !darwin

package natsd

import "errors"

// diskSpace is not known here; the metrics of the disk are left out.
func diskSpace(string) (size, free uint64, err error) { return 0, 0, errors.ErrUnsupported }
