package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct { //nolint:errname // what it is called where users read it
	// Place is what set the value: FILE:LINE, an environment variable or a flag.
	Place string
	// Key is the path of the key, empty when the problem is the place itself.
	Key string
	// Text says what is wrong; it never holds a secret.
	Text string
}

// Error is the problem in one line.
func (p Problem) Error() string {
	parts := make([]string, 0, 3)
	for _, part := range []string{p.Place, p.Key, p.Text} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Problems is everything Load found wrong, in the order file, environment, flags.
type Problems []Problem //nolint:errname // as Problem

// Error has one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// orNil avoids an error interface that holds an empty list.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p *Problems) add(place, key, format string, args ...any) {
	*p = append(*p, Problem{Place: place, Key: key, Text: fmt.Sprintf(format, args...)})
}
