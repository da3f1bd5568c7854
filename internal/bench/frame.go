package bench

import (
	"encoding/binary"
	"errors"
)

// Opcodes of WebSocket frames.
const (
	opContinuation = 0
	opText         = 1
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// maxFrame bounds what one frame of a server may make this process keep.
const maxFrame = 64 << 20

var (
	errFrame = errors.New("the server's frames cannot be read")
	errHuge  = errors.New("the server sent a frame of more than 64 MiB")
)

// splitFrame gives the first frame of b and what follows it; n = 0: b does not hold a whole one.
func splitFrame(b []byte) (first byte, payload []byte, n int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	size, head := uint64(b[1]), 2
	switch {
	case size > 127 || b[0]&0x70 != 0: // masked, or with an extension nobody asked for
		return 0, nil, 0, errFrame
	case size == 126:
		if len(b) < 4 {
			return 0, nil, 0, nil
		}
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127:
		if len(b) < 10 {
			return 0, nil, 0, nil
		}
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	}
	if size > maxFrame {
		return 0, nil, 0, errHuge
	}
	if uint64(len(b)-head) < size {
		return 0, nil, 0, nil
	}
	n = head + int(size)
	return b[0], b[head:n], n, nil
}

// appendFrame writes a frame of a client. Its mask is zero, which is a mask too: nothing here needs protection from
// caches that take payloads for requests, and the bytes need no work.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	return append(append(dst, 0, 0, 0, 0), payload...)
}

// kind is what a frame is about, told from its first bytes.
type kind byte

const (
	kindOther kind = iota
	kindMessage
	kindJoin
	kindHistory
	kindAck
	kindError
	kindPresenceFull
	kindPresenceUpdate
)

const actionHead = `{"action":"`

func kindOf(frame []byte) kind {
	if len(frame) < len(actionHead)+16 || string(frame[:len(actionHead)]) != actionHead {
		return kindOther
	}
	switch rest := frame[len(actionHead):]; rest[0] {
	case 'm':
		return kindMessage // message
	case 'e':
		if rest[1] == 'v' {
			return kindMessage // event
		}
		return kindError
	case 'j':
		return kindJoin
	case 'h':
		return kindHistory
	case 'a':
		return kindAck
	case 'p':
		if rest[9] == 'f' {
			return kindPresenceFull
		}
		return kindPresenceUpdate
	}
	return kindOther
}
