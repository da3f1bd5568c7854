package history

import "errors"

// Errors of reading.
var (
	// ErrUnavailable: no replica of the stream answers, or the broker is not connected.
	ErrUnavailable = errors.New("history is unavailable")
	// ErrRefused: the broker answered something that should not happen.
	ErrRefused = errors.New("history read refused")
	// ErrRange: the limits asked for make no sense.
	ErrRange = errors.New("bad range")

	errTooMany = errors.New("too many subjects match") // status 413
)
