//go:build !linux

package uring

// Ring does not exist here.
type Ring struct{}

// Open tells that there is no io_uring.
func Open(int) (*Ring, error) { return nil, ErrUnsupported }

// Cap is how many sends a batch may have.
func (*Ring) Cap() int { return 0 }

// Send is never called, since there is no Ring.
func (*Ring) Send([]byte, []Send) error { return ErrUnsupported }

// Close frees the ring.
func (*Ring) Close() error { return nil }

// Probe tells that there is no io_uring.
func Probe() error { return ErrUnsupported }
