package policy

import (
	"errors"
	"fmt"
)

// Errors of whoever stores servers. They stand here so that a store and its users agree on them without knowing
// each other.
var (
	// ErrNotFound: there is no such server or rule.
	ErrNotFound = errors.New("not found")
	// ErrConflict: somebody else changed the settings first.
	ErrConflict = errors.New("settings were changed by somebody else")
	// ErrReadOnly: the settings come from a file.
	ErrReadOnly = errors.New("settings come from a file and are read-only here")
)

// FieldError says which field of the settings is wrong, and how. Field is a path such as channels[2].history; it
// is empty when the whole value is meant.
type FieldError struct {
	Field   string
	Problem string
	// Line is the line in the file the settings were read from; 0 = not known.
	Line int
}

// Error makes it an error.
func (e *FieldError) Error() string {
	text := e.Problem
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, text)
	}
	return text
}
