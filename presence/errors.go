package presence

import "errors"

var (
	// ErrStopped is returned by calls on a directory whose Run has ended.
	ErrStopped = errors.New("presence: directory has stopped")
	// ErrCursor is returned by Snapshot for a cursor that did not come from it.
	ErrCursor = errors.New("presence: bad cursor")

	errTooMany  = errors.New("more entries than one answer holds")
	errNotFound = errors.New("not found")
	errLost     = errors.New("lease lost")
	errKey      = errors.New("not a presence key")
)
