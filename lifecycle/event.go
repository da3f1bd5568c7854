package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fanfare/protocol"
)

// Type is what happened.
type Type string

// The types of events.
const (
	Connect    Type = "connect"
	Disconnect Type = "disconnect"
	Join       Type = "join"
	Leave      Type = "leave"
	Occupied   Type = "occupied"
	Vacated    Type = "vacated"
	// Lost says that events of a gateway are missing. Its members are to be forgotten; those that are there follow.
	Lost Type = "lost"
)

// Reason is why somebody left.
type Reason string

// The reasons of leaves and disconnects.
const (
	ReasonLeft         Reason = "left"         // the client left the channel
	ReasonClosed       Reason = "closed"       // the socket ended, or the gateway stopped in order
	ReasonTimeout      Reason = "timeout"      // the client was silent for too long
	ReasonGatewayLost  Reason = "gateway_lost" // the gateway died
	ReasonEvicted      Reason = "evicted"      // too slow, too much, or no longer allowed
	ReasonDisconnected Reason = "disconnected" // a back end ended the socket
)

// Event is one change as it is stored.
type Event struct {
	Type    Type               `json:"t"`
	At      int64              `json:"at"` // Unix milliseconds
	Session protocol.SessionID `json:"s,omitempty"`
	Channel protocol.Channel   `json:"c,omitempty"`
	Client  json.RawMessage    `json:"o,omitempty"`
	Reason  Reason             `json:"r,omitempty"`
	// Repeated: not new, told again for those who begin to read later.
	Repeated bool            `json:"again,omitempty"`
	Gateway  protocol.NodeID `json:"gw,omitempty"` // of Lost
}

// Entry is an event with its place.
type Entry struct {
	Event

	Cursor string
}

// batch is the body of a stored message.
type batch struct {
	Version int             `json:"v"`
	By      protocol.NodeID `json:"by"` // who wrote it: not always the writer of the subject
	Number  uint64          `json:"n"`  // of By's batches: recognises one whose acknowledgement was lost
	Over    bool            `json:"over,omitempty"`
	UpTo    uint64          `json:"upto,omitempty"` // of derived events: what they follow from
	Events  []Event         `json:"e"`
}

const batchVersion = 1

var errBatch = errors.New("lifecycle batch cannot be read")

func decodeBatch(b []byte) (batch, error) {
	var out batch
	if err := json.Unmarshal(b, &out); err != nil {
		return batch{}, fmt.Errorf("%w: %w", errBatch, err)
	}
	if out.Version != batchVersion {
		return batch{}, fmt.Errorf("%w: version %d", errBatch, out.Version)
	}
	return out, nil
}

// derived is the writer of what the keeper derives.
const derived = "="

const (
	streamName    = "FANFARE_LIFECYCLE"
	subjectPrefix = "fanfare.l."
	// noticePrefix is where the stream says that something was stored, without the body.
	noticePrefix = "fanfare.ln."
)

func subjectOf(server protocol.ServerID, writer string) string {
	return subjectPrefix + strconv.FormatInt(int64(server), 10) + "." + writer
}

func parseSubject(s string) (protocol.ServerID, string, bool) {
	rest, ok := strings.CutPrefix(s, subjectPrefix)
	number, writer, dot := strings.Cut(rest, ".")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || !dot || err != nil || writer == "" || strings.Contains(writer, ".") {
		return 0, "", false
	}
	return protocol.ServerID(n), writer, true
}

// cursor is a place: behind the event of that index in the message of that sequence.
type cursor struct {
	seq   uint64
	index int
}

func (c cursor) String() string {
	return strconv.FormatUint(c.seq, 10) + "-" + strconv.Itoa(c.index)
}

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	seq, index, ok := strings.Cut(s, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	i, err2 := strconv.Atoi(index)
	if c := (cursor{n, i}); ok && err == nil && err2 == nil && n > 0 && i >= 0 && c.String() == s {
		return c, nil
	}
	return cursor{}, ErrCursor
}

// Errors of Read.
var (
	ErrCursor        = errors.New("unknown cursor")
	ErrCursorExpired = errors.New("events behind the cursor are no longer kept")
	// ErrUnavailable: the broker does not answer.
	ErrUnavailable = errors.New("broker is not available")
)

func millis(t time.Time) int64 { return t.UnixMilli() }
