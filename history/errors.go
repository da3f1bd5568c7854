package history

import (
	"errors"
	"fmt"
)

// Errors of reading.
var (
	// ErrUnavailable: no replica of the stream answers, or the broker is not connected.
	ErrUnavailable = errors.New("history is unavailable")
	// ErrRefused: the broker answered something that should not happen.
	ErrRefused = errors.New("history read refused")
	// ErrRange: the limits asked for make no sense.
	ErrRange = errors.New("bad range")

	errTooMany = errors.New("too many subjects match") // status 413
	// errScattered: giving what was found so far would pass over what other shards have in between.
	errScattered = fmt.Errorf("%w: too many messages of other rules stand between those of this pattern; ask for a narrower one", ErrUnavailable)
)
