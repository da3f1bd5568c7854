// Package uring hands many non-blocking sends to the kernel in one system call, by Linux's io_uring and without cgo.
//
// Every send carries MSG_DONTWAIT, so it completes inside the call like a write(2) that does not wait: nothing of it
// outlives Ring.Send, neither the buffer nor a descriptor. What is gained is the way between program and kernel, and
// that a receiver on the same processor does not run in between after every single send.
//
// io_uring is missing elsewhere than on Linux, before Linux 5.6, and where a sandbox forbids it (Docker's default
// seccomp profile does): Probe tells.
package uring

import "errors"

// ErrUnsupported is wrapped by what Open and Probe give where there is no io_uring.
var ErrUnsupported = errors.New("io_uring is not supported")
