package protocol

import (
	"encoding/json"
	"strconv"
)

// The encoders append one outgoing frame, a JSON object, to dst. Names and values that come from clients are
// escaped here and nowhere else.

const hexDigits = "0123456789abcdef"

// AppendString appends s, valid UTF-8, as a JSON string.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i + 1
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Member is one presence entry and the sender of a message: the client object of the wire.
type Member struct {
	Session  SessionID
	Identity *Identity
	// Data is the member's presence data, a JSON object; nil = none. It stands in presence frames only.
	Data json.RawMessage
}

// AppendMember appends the client object. source names the channel for subscribers of a pattern; "" = none.
func AppendMember(dst []byte, m Member, source Channel) []byte {
	dst = append(dst, `{"socketId":`...)
	dst = AppendString(dst, string(m.Session))
	dst = append(dst, `,"extras":`...)
	if len(m.Identity.Extras) == 0 {
		dst = append(dst, '{', '}')
	} else {
		dst = append(dst, m.Identity.Extras...)
	}
	dst = append(dst, `,"permissions":{"dbo_id":`...)
	dst = strconv.AppendInt(dst, m.Identity.DboID, 10)
	dst = append(dst, `,"row_id":`...)
	dst = append(dst, m.Identity.RowID.JSON()...)
	dst = append(dst, '}')
	if len(m.Data) > 0 {
		dst = append(dst, `,"data":`...)
		dst = append(dst, m.Data...)
	}
	dst = append(dst, '}')
	if source != "" {
		dst = AppendSource(dst[:len(dst)-1], source)
		dst = append(dst, '}')
	}
	return dst
}

// AppendSource appends `,"source":"…"`.
func AppendSource(dst []byte, source Channel) []byte {
	dst = append(dst, `,"source":`...)
	return AppendString(dst, string(source))
}

const (
	messagePrefix = `{"action":"message","options":{"channel":`
	eventPrefix   = `{"action":"event","options":{"channel":`
)

// AppendMessage appends a client's message without offset and tells where the offset goes (Publication.Splice,
// relative to the start of the frame).
func AppendMessage(dst []byte, channel Channel, audience Audience, id string, sender Member, payload []byte) ([]byte, int) {
	start := len(dst)
	dst = append(dst, messagePrefix...)
	dst = AppendString(dst, string(channel))
	splice := len(dst) - start
	if audience.Kind == Authenticated {
		dst = append(dst, `,"authenticated":true`...)
	} else {
		dst = append(dst, `,"authenticated":false`...)
	}
	dst = append(dst, `,"socketId":`...)
	if audience.Kind == Socket {
		dst = AppendString(dst, string(audience.Session))
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"id":`...)
	dst = AppendString(dst, id)
	dst = append(dst, `},"client":`...)
	sender.Data = nil
	dst = AppendMember(dst, sender, "")
	dst = append(dst, `,"payload":`...)
	dst = appendPayload(dst, payload)
	return append(dst, '}'), splice
}

// AppendEvent appends a server-side event without offset, as AppendMessage does for messages.
func AppendEvent(dst []byte, channel Channel, audience Audience, id string, data []byte) ([]byte, int) {
	start := len(dst)
	dst = append(dst, eventPrefix...)
	dst = AppendString(dst, string(channel))
	splice := len(dst) - start
	dst = append(dst, `,"id":`...)
	dst = AppendString(dst, id)
	dst = append(dst, `},"client":null,"payload":{"data":`...)
	dst = appendPayload(dst, data)
	dst = append(dst, `,"dbo_id":`...)
	dst = strconv.AppendInt(dst, audience.DboID, 10)
	dst = append(dst, `,"row_id":`...)
	dst = append(dst, audience.RowID.JSON()...)
	return append(dst, `}}`...), splice
}

func appendPayload(dst, payload []byte) []byte {
	if len(payload) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, payload...)
}

// AppendPublication appends the frame of p as subscribers of the channel get it: with its offset when it was
// stored.
func AppendPublication(dst []byte, p *Publication) []byte {
	dst = append(dst, p.Frame[:p.Splice]...)
	dst = appendOffset(dst, p.Offset)
	return append(dst, p.Frame[p.Splice:]...)
}

// PublicationLen is the length of what AppendPublication appends.
func PublicationLen(p *Publication) int {
	if p.Offset == 0 {
		return len(p.Frame)
	}
	digits := 1
	for n := p.Offset; n >= 10; n /= 10 {
		digits++
	}
	return len(p.Frame) + len(`,"offset":""`) + digits
}

// AppendForPattern appends the frame of p as subscribers of pattern get it: under the pattern's name, with
// the channel as source.
func AppendForPattern(dst []byte, p *Publication, pattern Channel) []byte {
	prefix := messagePrefix
	if p.Kind == KindEvent {
		prefix = eventPrefix
	}
	dst = append(dst, prefix...)
	dst = AppendString(dst, string(pattern))
	dst = append(dst, `,"source":`...)
	dst = append(dst, p.Frame[len(prefix):p.Splice]...)
	dst = appendOffset(dst, p.Offset)
	return append(dst, p.Frame[p.Splice:]...)
}

func appendOffset(dst []byte, offset uint64) []byte {
	if offset == 0 {
		return dst
	}
	dst = append(dst, `,"offset":"`...)
	dst = strconv.AppendUint(dst, offset, 10)
	return append(dst, '"')
}

func appendHead(dst []byte, action string, channel Channel) []byte {
	dst = append(dst, `{"action":"`...)
	dst = append(dst, action...)
	dst = append(dst, `","options":{`...)
	if channel != "" {
		dst = append(dst, `"channel":`...)
		dst = AppendString(dst, string(channel))
	}
	return dst
}

// Resumed is what a join answer says about resuming.
type Resumed uint8

// The three cases.
const (
	ResumeNotAsked Resumed = iota
	ResumedWhole
	ResumedNot
)

// AppendJoin appends the answer to a join. position is left out when stored is false.
func AppendJoin(dst []byte, channel Channel, self Member, stored bool, position Position, resumed Resumed) []byte {
	dst = appendHead(dst, "join", channel)
	if stored {
		dst = append(dst, `,"offset":"`...)
		dst = strconv.AppendUint(dst, position.Offset, 10)
		dst = append(dst, `","epoch":`...)
		dst = AppendString(dst, position.Epoch)
	}
	dst = append(dst, `},"client":`...)
	dst = AppendMember(dst, self, "")
	switch resumed {
	case ResumedWhole:
		dst = append(dst, `,"payload":{"resumed":true}}`...)
	case ResumedNot:
		dst = append(dst, `,"payload":{"resumed":false}}`...)
	default:
		dst = append(dst, `,"payload":null}`...)
	}
	return dst
}

// AppendAck appends the acknowledgement of a message that carried a ref. offset 0 is left out.
func AppendAck(dst []byte, channel Channel, ref, id string, offset uint64) []byte {
	dst = appendHead(dst, "ack", channel)
	dst = append(dst, `,"ref":`...)
	dst = AppendString(dst, ref)
	dst = append(dst, `},"payload":{"id":`...)
	dst = AppendString(dst, id)
	dst = appendOffset(dst, offset)
	return append(dst, `}}`...)
}

// AppendError appends an error frame. An empty channel makes it one about the connection, which every
// channel of a stock client gets.
func AppendError(dst []byte, channel Channel, ref string, e *Error) []byte {
	dst = appendHead(dst, "error", channel)
	if ref != "" {
		if channel != "" {
			dst = append(dst, ',')
		}
		dst = append(dst, `"ref":`...)
		dst = AppendString(dst, ref)
	}
	dst = append(dst, `},"client":null,"payload":{"message":`...)
	dst = AppendString(dst, e.Message)
	dst = append(dst, `,"code":`...)
	dst = AppendString(dst, string(e.Code))
	if e.Detail != "" {
		dst = append(dst, `,"detail":`...)
		dst = AppendString(dst, e.Detail)
	}
	if e.RetryAfter > 0 {
		dst = append(dst, `,"retry_after":`...)
		dst = strconv.AppendInt(dst, int64(e.RetryAfter), 10)
	}
	return append(dst, `}}`...)
}

// PresenceAction is payload.action of a presence_update.
type PresenceAction string

// The presence actions. Stock clients know join and leave.
const (
	PresenceJoin   PresenceAction = "join"
	PresenceLeave  PresenceAction = "leave"
	PresenceUpdate PresenceAction = "update"
)

// AppendPresenceUpdate appends one change of presence; entry is a client object made by AppendMember.
func AppendPresenceUpdate(dst []byte, channel Channel, source Channel, action PresenceAction, entry []byte) []byte {
	dst = appendHead(dst, "presence_update", channel)
	if source != "" {
		dst = AppendSource(dst, source)
	}
	dst = append(dst, `},"client":null,"payload":{"action":"`...)
	dst = append(dst, action...)
	dst = append(dst, `","presence":`...)
	dst = append(dst, entry...)
	return append(dst, `}}`...)
}

// AppendPresenceFullHead appends a presence_full frame up to its first entry. The entries follow, separated
// by commas, then PresenceFullTail. The list is never copied for each receiver: see the roster in gateway.
func AppendPresenceFullHead(dst []byte, channel Channel) []byte {
	dst = appendHead(dst, "presence_full", channel)
	return append(dst, `},"client":null,"payload":{"presence":[`...)
}

// PresenceFullTail ends what AppendPresenceFullHead began.
const PresenceFullTail = `]}}`

// HistoryMore says what a history answer tells about further entries.
type HistoryMore uint8

// The three cases.
const (
	HistoryUnpaged HistoryMore = iota
	HistoryHasMore
	HistoryNoMore
)

// AppendHistory appends a history frame with the publications, oldest first; as the pattern's subscribers
// get them when channel is a pattern.
func AppendHistory(dst []byte, channel Channel, publications []*Publication, more HistoryMore) []byte {
	dst = appendHead(dst, "history", channel)
	dst = append(dst, `},"client":null,"payload":{"history":[`...)
	pattern := channel.IsPattern()
	for i, p := range publications {
		if i > 0 {
			dst = append(dst, ',')
		}
		if pattern {
			dst = AppendForPattern(dst, p, channel)
		} else {
			dst = AppendPublication(dst, p)
		}
	}
	dst = append(dst, ']')
	switch more {
	case HistoryHasMore:
		dst = append(dst, `,"more":true`...)
	case HistoryNoMore:
		dst = append(dst, `,"more":false`...)
	case HistoryUnpaged:
	}
	return append(dst, `}}`...)
}
