package history

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/envelope"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Headers of direct reads and of republished messages.
const (
	headerSequence = "Nats-Sequence"
	headerTime     = "Nats-Time-Stamp"
	headerSubject  = "Nats-Subject"
	headerPending  = "Nats-Num-Pending"
	headerLast     = "Nats-Last-Sequence"
	headerUpTo     = "Nats-UpTo-Sequence"
	headerStatus   = "Status"
)

// entry is one stored message.
type entry struct {
	seq     uint64
	stored  time.Time
	pending uint64 // how many newer ones the subject or filter has
	pub     *protocol.Publication
}

// before is the order of a pattern's history.
func (e entry) before(stored time.Time, offset uint64) bool {
	if c := e.stored.Compare(stored); c != 0 {
		return c < 0
	}
	return e.pub.Offset < offset
}

// readEntry reads an answer to a direct read.
func readEntry(shard int, m *nats.Msg) (entry, bool) {
	e := entry{seq: number(m.Header, headerSequence), pending: number(m.Header, headerPending)}
	e.stored, _ = time.Parse(time.RFC3339Nano, m.Header.Get(headerTime))
	e.pub = decode(shard, e.seq, m.Data)
	return e, e.seq > 0
}

// decode reads a message's body. What cannot be read becomes a publication without kind and frame that has only
// its offset, so that readers get past it; nobody shows it.
func decode(shard int, seq uint64, body []byte) *protocol.Publication {
	p := &protocol.Publication{}
	if envelope.Decode(body, p) != nil {
		*p = protocol.Publication{}
	}
	p.Offset = subject.Offset(shard, seq)
	return p
}

func number(h nats.Header, key string) uint64 {
	n, _ := strconv.ParseUint(h.Get(key), 10, 64)
	return n
}
