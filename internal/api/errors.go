package api

import (
	"errors"
	"fmt"
)

// Errors that a Backend or Lifecycle may return besides *protocol.Error.
var (
	// ErrOffsetConflict: expect_offset is not the newest offset. 409.
	ErrOffsetConflict = errors.New("the channel has moved on")
	// ErrAtomicUnsupported: these events cannot be stored together. 422.
	ErrAtomicUnsupported = errors.New("the store cannot keep these events together")
	// ErrAtomicLimit: too many events for one atomic batch. 422.
	ErrAtomicLimit = errors.New("too many events for an atomic batch")
	// ErrPatternPaging: before and after mean nothing across the channels of a pattern. 422.
	ErrPatternPaging = errors.New("before and after cannot be used with a pattern")
	// ErrCursor: the cursor is none of ours. 400.
	ErrCursor = errors.New("unknown cursor")
	// ErrCursorExpired: what is behind the cursor is no longer kept. 410.
	ErrCursorExpired = errors.New("events behind the cursor are no longer kept")
)

// BatchError says which event made an atomic batch fail.
type BatchError struct {
	Index int
	Err   error
}

// Error makes it an error.
func (e *BatchError) Error() string { return fmt.Sprintf("events[%d]: %v", e.Index, e.Err) }

// Unwrap gives the event's own error.
func (e *BatchError) Unwrap() error { return e.Err }
