package protocol

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Channel is a valid channel name such as room1 or chat/sports, or a pattern such as chat/*. Names are
// compared byte for byte: no normalisation and no case folding, because clients drop frames whose channel is
// not exactly the one they joined.
type Channel string

// Errors of ParseChannel.
var (
	ErrChannelEmpty    = errors.New("channel name is empty")
	ErrChannelUTF8     = errors.New("channel name is not valid UTF-8")
	ErrChannelLong     = errors.New("channel name is too long")
	ErrChannelSegments = errors.New("channel name has too many segments")
)

// ParseChannel checks a name against the limits: at most maxBytes bytes of UTF-8 in at most maxSegments
// segments. Any character is allowed; segments may be empty.
func ParseChannel(name string, maxBytes, maxSegments int) (Channel, error) {
	switch {
	case name == "":
		return "", ErrChannelEmpty
	case len(name) > maxBytes:
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrChannelLong, len(name), maxBytes)
	case strings.Count(name, "/")+1 > maxSegments:
		return "", fmt.Errorf("%w: %d, at most %d", ErrChannelSegments, strings.Count(name, "/")+1, maxSegments)
	case !utf8.ValidString(name):
		return "", ErrChannelUTF8
	}
	return Channel(name), nil
}

// IsPattern tells whether the name ends in one segment that is just *, with something before it. Any other *
// is an ordinary character.
func (c Channel) IsPattern() bool {
	return len(c) > 2 && strings.HasSuffix(string(c), "/*")
}

// Base is a pattern without its /*; the name itself for a channel.
func (c Channel) Base() string {
	if c.IsPattern() {
		return string(c[:len(c)-2])
	}
	return string(c)
}

// Covers tells whether the pattern covers the channel: everything below its base at any depth, the base
// itself not.
func (c Channel) Covers(name Channel) bool {
	if !c.IsPattern() {
		return false
	}
	prefix := string(c[:len(c)-1])
	return len(name) > len(prefix) && strings.HasPrefix(string(name), prefix)
}
