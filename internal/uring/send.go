package uring

import "syscall"

// Send is one send of a batch: a part of the batch's buffer to one socket. The socket must stay open, and nobody else
// may write to it, until Ring.Send returns.
type Send struct {
	FD         int
	Begin, End int // of the buffer

	// The result: how many bytes the kernel took, or why none. ErrNotSent is a send that was not tried.
	N     int
	Errno syscall.Errno
}

// ErrNotSent is the Errno of a send that the kernel was never given, because handing over failed.
const ErrNotSent = syscall.ECANCELED
