package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"fanfare/protocol"
)

// The versions that are read. Both are written.
const (
	plain    = 1
	numbered = 2
)

const (
	fixed     = 3 // version and kinds
	numberLen = 8
)

// Errors of Decode.
var (
	ErrVersion   = errors.New("envelope of an unknown version")
	ErrMalformed = errors.New("malformed envelope")
)

// maxText bounds every text in the head.
const maxText = 4096

// Append writes the publication. Offset is not part of it: the stream gives it.
func Append(dst []byte, p *protocol.Publication) []byte {
	return appendRest(append(dst, plain, byte(p.Kind), byte(p.Audience.Kind)), p)
}

// Numbered writes the publication with room for a number, which SetNumber puts in.
func Numbered(p *protocol.Publication) []byte {
	b := append(make([]byte, 0, Size(p)), numbered, byte(p.Kind), byte(p.Audience.Kind))
	return appendRest(append(b, make([]byte, numberLen)...), p)
}

// SetNumber gives an envelope of Numbered its number among those of its origin; the first is 1.
func SetNumber(b []byte, n uint64) { binary.BigEndian.PutUint64(b[fixed:], n) }

func appendRest(dst []byte, p *protocol.Publication) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.Server))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Accepted.UnixNano()))
	dst = binary.AppendUvarint(dst, uint64((p.TTL+time.Millisecond-1)/time.Millisecond))
	dst = binary.AppendUvarint(dst, uint64(p.Splice))
	dst = binary.AppendVarint(dst, p.Audience.DboID)
	dst = binary.AppendUvarint(dst, uint64(len(p.Origin)))
	dst = binary.AppendUvarint(dst, uint64(len(p.Channel)))
	dst = binary.AppendUvarint(dst, uint64(len(p.ID)))
	dst = binary.AppendUvarint(dst, uint64(len(p.Sender)))
	dst = binary.AppendUvarint(dst, uint64(len(p.Audience.RowID)))
	dst = binary.AppendUvarint(dst, uint64(len(p.Audience.Session)))
	dst = append(dst, p.Origin...)
	dst = append(dst, p.Channel...)
	dst = append(dst, p.ID...)
	dst = append(dst, p.Sender...)
	dst = append(dst, p.Audience.RowID...)
	dst = append(dst, p.Audience.Session...)
	return append(dst, p.Frame...)
}

// Size is about how long Append's result is.
func Size(p *protocol.Publication) int {
	return 72 + len(p.Origin) + len(p.Channel) + len(p.ID) + len(p.Sender) + len(p.Audience.RowID) + len(p.Audience.Session) + len(p.Frame)
}

// Decode reads the publication. p.Frame shares b, which must not change afterwards.
func Decode(b []byte, p *protocol.Publication) error {
	h, err := readHead(b)
	if err != nil {
		return err
	}
	text := string(b[h.text : h.text+h.textLen()])
	cut := func(n int) (s string) {
		s, text = text[:n], text[n:]
		return s
	}
	p.Kind = protocol.Kind(b[1])
	p.Server = protocol.ServerID(h.server)
	p.Accepted = time.Unix(0, h.accepted)
	p.TTL = time.Duration(h.ttl) * time.Millisecond
	p.Splice = h.splice
	p.Origin = protocol.NodeID(cut(h.lens[0]))
	p.Channel = protocol.Channel(cut(h.lens[1]))
	p.ID = cut(h.lens[2])
	p.Sender = protocol.SessionID(cut(h.lens[3]))
	p.Audience = protocol.Audience{
		Kind:    protocol.AudienceKind(b[2]),
		DboID:   h.dbo,
		RowID:   protocol.RowID(cut(h.lens[4])),
		Session: protocol.SessionID(cut(h.lens[5])),
	}
	p.Frame = b[h.text+h.textLen():]
	p.Offset = 0
	return nil
}

// Origin gives the gateway that accepted the publication, as a part of b, and the publication's number among those of
// that gateway, 0 when it has none: to know before decoding what is not wanted.
func Origin(b []byte) (origin []byte, number uint64, err error) {
	h, err := readHead(b)
	if err != nil {
		return nil, 0, err
	}
	return b[h.text : h.text+h.lens[0]], h.number, nil
}

// head is what stands before the texts.
type head struct {
	number   uint64
	server   uint64
	accepted int64
	ttl      uint64
	splice   int
	dbo      int64
	lens     [6]int
	text     int // where the texts begin
}

func (h *head) textLen() (n int) {
	for _, l := range h.lens {
		n += l
	}
	return n
}

func readHead(b []byte) (h head, err error) {
	if len(b) < 4 {
		return h, ErrMalformed
	}
	i := fixed
	switch b[0] {
	case plain:
	case numbered:
		if i += numberLen; len(b) < i {
			return h, ErrMalformed
		}
		h.number = binary.BigEndian.Uint64(b[fixed:])
	default:
		return h, fmt.Errorf("%w: %d", ErrVersion, b[0])
	}
	number := func() uint64 {
		n, k := binary.Uvarint(b[i:])
		if k <= 0 {
			err = ErrMalformed
			return 0
		}
		i += k
		return n
	}
	h.server = number()
	if err != nil || len(b)-i < 8 || h.server > math.MaxInt64 {
		return h, ErrMalformed
	}
	h.accepted = int64(binary.BigEndian.Uint64(b[i:]))
	i += 8
	if h.ttl = number(); h.ttl > uint64(math.MaxInt64/time.Millisecond) {
		return h, ErrMalformed
	}
	splice := number()
	dbo, k := binary.Varint(b[i:])
	if err != nil || k <= 0 {
		return h, ErrMalformed
	}
	h.dbo = dbo
	i += k
	for j := range h.lens {
		n := number()
		if err != nil || n > maxText {
			return h, ErrMalformed
		}
		h.lens[j] = int(n)
	}
	h.text = i
	frame := len(b) - i - h.textLen()
	if frame < 0 || splice > uint64(frame) {
		return h, ErrMalformed
	}
	h.splice = int(splice)
	return h, nil
}
