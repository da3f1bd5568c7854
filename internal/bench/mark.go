package bench

import (
	"bytes"
	"time"
)

// A mark is what a payload consists of: a JSON string that says which message it is and when it was due, in fields
// of fixed width, so that it is found and read without parsing JSON.
//
//	"fanbench:RRRRRRRRCCCCCCPPPPSSSSSSSSTTTTTTTTTTTTTT......"
//	          run     channel lane seq   due, ns  padding
const (
	markWord  = `"fanbench:`
	runDigits = 8
	minSize   = len(markWord) + runDigits + 6 + 4 + 8 + 14 + 1
)

type mark struct {
	channel, lane int
	seq           uint32
	due           time.Duration
}

// appendMark writes the payload of size bytes. prefix is markWord and the run.
func appendMark(dst []byte, prefix string, m mark, size int) []byte {
	at := len(dst)
	dst = append(dst, prefix...)
	dst = appendHex(dst, uint64(m.channel), 6)
	dst = appendHex(dst, uint64(m.lane), 4)
	dst = appendHex(dst, uint64(m.seq), 8)
	dst = appendHex(dst, uint64(m.due), 14)
	for len(dst)-at < size-1 {
		dst = append(dst, '.')
	}
	return append(dst, '"')
}

// findMark looks for the mark of a run in a frame. size is that of the payload, which nearly always ends the frame.
func findMark(frame, prefix []byte, size int) (m mark, ok bool) {
	at := len(frame) - 1 - size
	if at < 0 || !bytes.HasPrefix(frame[at:], prefix) {
		if at = bytes.Index(frame, prefix); at < 0 {
			return m, false
		}
	}
	b := frame[at+len(prefix):]
	if len(b) < 6+4+8+14 {
		return m, false
	}
	channel, a := parseHex(b[:6])
	lane, c := parseHex(b[6:10])
	seq, d := parseHex(b[10:18])
	due, e := parseHex(b[18:32])
	return mark{int(channel), int(lane), uint32(seq), time.Duration(due)}, a && c && d && e
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[v>>shift&15])
	}
	return dst
}

func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}
