package protocol

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// The decoders of payloads judge what Decode has let through. Like Decode they compare names in their exact
// case, take the last of members that stand twice, and read null as absent.

// maxPayloadDepth bounds payloads that did not come through Decode, as encoding/json does.
const maxPayloadDepth = 10000

// Join is the payload of a join.
type Join struct {
	History  bool
	Presence bool
	// Resume asks for everything after From.
	Resume bool
	From   Position
	// EpochGiven: From.Epoch was part of the request.
	EpochGiven bool
}

// DecodeJoin reads a join's payload; nil and null ask for nothing.
func DecodeJoin(payload []byte) (j Join, failed *Error) {
	if !given(payload) {
		return j, nil
	}
	var history, presence, resume []byte
	if failed := members(payload, "payload", func(key, value []byte) {
		switch string(key) {
		case "history":
			history = value
		case "presence":
			presence = value
		case "resume":
			resume = value
		}
	}); failed != nil {
		return j, failed
	}
	var ok bool
	if j.History, ok = optionalBool(history); !ok {
		return j, wrongType("payload.history")
	}
	if j.Presence, ok = optionalBool(presence); !ok {
		return j, wrongType("payload.presence")
	}
	if !given(resume) {
		return j, nil
	}
	var offset, epoch []byte
	if failed := members(resume, "payload.resume", func(key, value []byte) {
		switch string(key) {
		case "offset":
			offset = value
		case "epoch":
			epoch = value
		}
	}); failed != nil {
		return j, failed
	}
	j.Resume, j.EpochGiven = true, given(epoch)
	if j.From.Epoch, ok = optionalString(epoch); !ok {
		return j, wrongType("payload.resume.epoch")
	}
	if j.From.Offset, ok = parseOffset(offset); !ok {
		return j, invalid("payload.resume.offset must be an offset as given by the server.")
	}
	return j, nil
}

// HistoryRequest is the payload of a history request. The zero value asks for the latest ones.
type HistoryRequest struct {
	// Paged: the payload named at least one of the fields, so the answer says payload.more.
	Paged  bool
	Limit  int // 0 = as many as the rule keeps
	Before uint64
	// HasBefore: before was given, possibly as 0 (nothing is older).
	HasBefore bool
	After     uint64
	// HasAfter: after was given, possibly as 0 (from the very beginning).
	HasAfter bool
	Since    time.Time
}

// DecodeHistory reads a history request's payload; nil and null ask for the latest ones.
func DecodeHistory(payload []byte) (h HistoryRequest, failed *Error) {
	if !given(payload) {
		return h, nil
	}
	var limit, before, after, since []byte
	if failed := members(payload, "payload", func(key, value []byte) {
		switch string(key) {
		case "limit":
			limit = value
		case "before":
			before = value
		case "after":
			after = value
		case "since":
			since = value
		}
	}); failed != nil {
		return h, failed
	}
	bad := func(field, what string) (HistoryRequest, *Error) {
		return h, invalid("payload." + field + " must be " + what + ".")
	}
	var ok bool
	if given(limit) {
		if h.Limit, ok = parseLimit(limit); !ok {
			return bad("limit", "a positive number")
		}
		h.Paged = true
	}
	if given(before) {
		if h.Before, ok = parseOffset(before); !ok {
			return bad("before", "an offset")
		}
		h.Paged, h.HasBefore = true, true
	}
	if given(after) {
		if h.After, ok = parseOffset(after); !ok {
			return bad("after", "an offset")
		}
		h.Paged, h.HasAfter = true, true
	}
	if given(since) {
		if h.Since, ok = parseTime(since); !ok {
			return bad("since", "RFC 3339 or Unix milliseconds")
		}
		h.Paged = true
	}
	if h.HasBefore && (h.HasAfter || given(since)) {
		return bad("before", "given without after and since")
	}
	return h, nil
}

// DecodePresenceData reads the payload of a presence_update: {"data": {…}}, the object at most maxBytes; nil
// clears the data. The result does not point into payload.
func DecodePresenceData(payload []byte, maxBytes int) (data []byte, failed *Error) {
	if len(payload) == 0 || payload[0] != '{' {
		return nil, invalid("payload must be an object with data.")
	}
	if failed := members(payload, "payload", func(key, value []byte) {
		if string(key) == "data" {
			data = value
		}
	}); failed != nil {
		return nil, failed
	}
	switch {
	case string(data) == "null":
		return nil, nil
	case len(data) == 0 || data[0] != '{':
		return nil, invalid("payload.data must be an object.")
	case len(data) > maxBytes:
		return nil, Invalid(CodeTooLarge, fmt.Sprintf("presence data is larger than %d bytes.", maxBytes))
	}
	return bytes.Clone(data), nil
}

// members calls field for each member of the object that text must be.
func members(text []byte, where string, field func(key, value []byte)) *Error {
	s := scanner{b: text, max: maxPayloadDepth}
	s.space()
	if s.i >= len(text) || text[s.i] != '{' {
		return wrongType(where)
	}
	err := s.object(func(key []byte) error {
		v, err := s.value()
		if err == nil {
			field(key, v)
		}
		return err
	})
	if s.space(); err != nil || s.i != len(text) {
		return invalid(where + " is not valid JSON.")
	}
	return nil
}

func wrongType(where string) *Error { return invalid(where + " has a wrong type.") }

func optionalBool(raw []byte) (value, ok bool) {
	switch string(raw) {
	case "true":
		return true, true
	case "", "null", "false":
		return false, true
	}
	return false, false
}

// given tells whether a value is there and not null.
func given(raw []byte) bool { return len(raw) > 0 && string(raw) != "null" }

// parseOffset reads an offset: a decimal string, or a number for those who type it by hand.
func parseOffset(raw []byte) (uint64, bool) {
	if len(raw) > 2 && raw[0] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	n, err := strconv.ParseUint(string(raw), 10, 63)
	return n, err == nil
}

func parseLimit(raw []byte) (int, bool) {
	n, err := strconv.ParseInt(string(raw), 10, 32)
	return int(n), err == nil && n > 0
}

func parseTime(raw []byte) (time.Time, bool) {
	text := string(raw)
	if len(raw) > 2 && raw[0] == '"' {
		text = string(raw[1 : len(raw)-1])
	}
	return ParseTime(text)
}

// ParseTime reads a moment as RFC 3339 or Unix milliseconds.
func ParseTime(text string) (time.Time, bool) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		if ms < 0 || ms > 1<<53 {
			return time.Time{}, false
		}
		return time.UnixMilli(ms), true
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, err == nil
}
