package gateway

import "encoding/binary"

// Opcodes of RFC 6455 that we write ourselves. Server frames are not masked.
const (
	opText  = 0x81 // final text frame
	opClose = 0x88
	opPing  = 0x89
)

var pingFrame = []byte{opPing, 0} //nolint:gochecknoglobals // a constant

// appendTextHeader appends the header of a text frame of n bytes.
func appendTextHeader(dst []byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, opText, byte(n))
	case n < 1<<16:
		return append(dst, opText, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, opText, 127), uint64(n))
}

// appendText appends a text frame whose payload encode appends. The header's length is found by encoding
// behind a gap of the largest header and moving the payload when a smaller one does.
func appendText(dst []byte, encode func([]byte) []byte) []byte {
	const gap = 10
	start := len(dst)
	dst = append(dst, make([]byte, gap)...)
	dst = encode(dst)
	n := len(dst) - start - gap
	head := appendTextHeader(dst[start:start], n)
	if len(head) < gap {
		copy(dst[start+len(head):], dst[start+gap:])
		dst = dst[:start+len(head)+n]
	}
	return dst
}

// cutFrames gives the length of as many whole frames at the beginning of b as fit into most bytes, at least one.
func cutFrames(b []byte, most int) int {
	for n := 0; ; {
		size := frameLen(b[n:])
		if n > 0 && n+size > most {
			return n
		}
		if n += size; n >= len(b) {
			return len(b)
		}
	}
}

// frameLen is the length of the first frame of b, which is not masked; all of b when it does not hold a whole one.
func frameLen(b []byte) int {
	size := len(b)
	switch {
	case len(b) >= 2 && b[1] < 126:
		size = 2 + int(b[1])
	case len(b) >= 4 && b[1] == 126:
		size = 4 + int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= 10 && b[1] == 127:
		if n := binary.BigEndian.Uint64(b[2:]); n < uint64(len(b)) {
			size = 10 + int(n)
		}
	}
	return min(size, len(b))
}

// closeFrame makes a close frame.
func closeFrame(code uint16, reason string) []byte {
	b := []byte{opClose, byte(2 + len(reason)), byte(code >> 8), byte(code)}
	return append(b, reason...)
}
