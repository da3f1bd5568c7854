package subject

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fanfare/protocol"
)

// MaxChannelBytes bounds channel names: tokens are at most three times as long, and NATS closes the whole
// connection on a control line over 4096 bytes.
const MaxChannelBytes = 1024

// Errors of Check and Decode.
var (
	ErrChannel = errors.New("channel cannot be a subject")
	ErrSubject = errors.New("not a subject of ours")
)

const (
	prefixStored   = "fanfare.h."
	prefixLive     = "fanfare.o."
	prefixPresence = "fanfare.p."

	terminator   = "="
	emptySegment = "=-"
	upperHex     = "0123456789ABCDEF"
)

// Check refuses names that would not fit into a subject.
func Check(c protocol.Channel) error {
	switch {
	case c == "":
		return fmt.Errorf("%w: empty", ErrChannel)
	case len(c) > MaxChannelBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrChannel, len(c), MaxChannelBytes)
	}
	return nil
}

// Encode gives the tokens of a name, without wildcard whatever the name is.
func Encode(name string) string {
	return string(appendTokens(make([]byte, 0, len(name)+16), name))
}

// appendTokens appends the tokens of a name, joined by dots.
func appendTokens(dst []byte, name string) []byte {
	empty := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '/':
			if empty {
				dst = append(dst, emptySegment...)
			}
			dst = append(dst, '.')
			empty = true
			continue
		case plain(c):
			dst = append(dst, c)
		default:
			dst = append(dst, '=', upperHex[c>>4], upperHex[c&15])
		}
		empty = false
	}
	if empty {
		dst = append(dst, emptySegment...)
	}
	return dst
}

// plain tells which bytes stand for themselves.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// Decode is the reverse of Encode. It accepts only what Encode gives.
func Decode(tokens string) (string, error) {
	b := make([]byte, 0, len(tokens))
	for i, token := range strings.Split(tokens, ".") {
		if i > 0 {
			b = append(b, '/')
		}
		if token == "" {
			return "", fmt.Errorf("%w: empty token", ErrSubject)
		}
		if token == emptySegment {
			continue
		}
		for j := 0; j < len(token); j++ {
			c := token[j]
			switch {
			case plain(c):
				b = append(b, c)
			case c == '=' && j+2 < len(token):
				hi, lo := unhex(token[j+1]), unhex(token[j+2])
				if hi > 15 || lo > 15 || plain(hi<<4|lo) || hi<<4|lo == '/' {
					return "", fmt.Errorf("%w: bad escape", ErrSubject)
				}
				b = append(b, hi<<4|lo)
				j += 2
			default:
				return "", fmt.Errorf("%w: bad byte", ErrSubject)
			}
		}
	}
	return string(b), nil
}

// unhex reads one upper-case hex digit; more than 15 means that it is none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// appendName appends "<server>.<tokens>" without wildcard.
func appendName(dst []byte, server protocol.ServerID, c protocol.Channel) []byte {
	dst = strconv.AppendInt(dst, int64(server), 10)
	return appendTokens(append(dst, '.'), string(c))
}

// appendTopic is appendName for a channel; a pattern ends in ">".
func appendTopic(dst []byte, server protocol.ServerID, c protocol.Channel) []byte {
	if c.IsPattern() {
		return append(appendName(dst, server, protocol.Channel(c.Base())), ".>"...)
	}
	return appendName(dst, server, c)
}

// cutServer splits "<server>.<rest>".
func cutServer(s string) (protocol.ServerID, string, error) {
	number, rest, ok := strings.Cut(s, ".")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || strconv.FormatInt(n, 10) != number {
		return 0, "", fmt.Errorf("%w: no server", ErrSubject)
	}
	return protocol.ServerID(n), rest, nil
}
