package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Action is the kind of an inbound frame.
type Action uint8

// The actions a client may send.
const (
	ActionUnknown Action = iota
	ActionJoin
	ActionLeave
	ActionMessage
	ActionHistory
	ActionPresenceUpdate
)

var actions = map[string]Action{
	"join": ActionJoin, "leave": ActionLeave, "message": ActionMessage, "history": ActionHistory,
	"presence_update": ActionPresenceUpdate,
}

// String is the word on the wire; a closed set, fit for a metric's label.
func (a Action) String() string {
	switch a {
	case ActionJoin:
		return "join"
	case ActionLeave:
		return "leave"
	case ActionMessage:
		return "message"
	case ActionHistory:
		return "history"
	case ActionPresenceUpdate:
		return "presence_update"
	}
	return "unknown"
}

// MaxRef is the longest options.ref in bytes.
const MaxRef = 64

// Request is one inbound frame. Payload points into the decoded bytes; the rest does not.
type Request struct {
	Action Action
	// Channel is options.channel, not yet checked against the limits; empty when absent.
	Channel string
	// Authenticated is options.authenticated.
	Authenticated bool
	// Socket is options.socketId; empty when absent, null or "": not private.
	Socket string
	// Ref is options.ref; empty when absent.
	Ref string
	// Payload is any JSON value; nil when absent.
	Payload []byte
}

// Decode reads one frame of at most maxDepth nested brackets. On an error the Request holds what could be
// read, so that the answer can name the channel and the ref. It never keeps b beyond Payload.
func Decode(b []byte, maxDepth int) (r Request, failed *Error) {
	if !utf8.Valid(b) {
		return r, &Error{Code: CodeInvalidMessage, Message: "Invalid message: not valid UTF-8."}
	}
	s := scanner{b: b, max: maxDepth}
	s.space()
	if s.i >= len(b) || b[s.i] != '{' {
		return r, &Error{Code: CodeInvalidMessage, Message: "Invalid message: not a JSON object."}
	}
	var wrong *Error // the first field of a wrong type; told only when the text is well-formed
	complain := func(code Code, text string) {
		if wrong == nil {
			wrong = &Error{Code: code, Message: "Invalid message: " + text}
		}
	}
	var action string
	err := s.object(func(key string) error {
		switch key {
		case "action":
			v, err := s.value()
			if err != nil {
				return err
			}
			if v[0] != '"' {
				action = ""
				complain(CodeInvalidMessage, "action must be a string.")
				return nil
			}
			action, err = unquote(v)
			return err
		case "options":
			return s.options(&r, complain)
		case "payload":
			v, err := s.value()
			r.Payload = v
			return err
		}
		return s.skip()
	})
	if err == nil {
		s.space()
		if s.i != len(b) {
			err = errSyntax
		}
	}
	switch {
	case errors.Is(err, errDepth):
		return r, &Error{Code: CodeTooDeep, Message: fmt.Sprintf("Invalid message: nested deeper than %d.", maxDepth)}
	case err != nil:
		return r, &Error{Code: CodeInvalidMessage, Message: "Invalid message: " + err.Error() + "."}
	case wrong != nil:
		return r, wrong
	case action == "":
		return r, &Error{Code: CodeInvalidMessage, Message: "Invalid message: action is missing."}
	}
	if r.Action = actions[action]; r.Action == ActionUnknown {
		return r, &Error{Code: CodeUnknownAction, Message: "Invalid message: unknown action."}
	}
	return r, nil
}

// options reads the options object into r. null counts as absent; a wrong type is a complaint and not an
// error of syntax, so that the rest of the frame is still read.
func (s *scanner) options(r *Request, complain func(Code, string)) error {
	if s.i < len(s.b) && s.b[s.i] != '{' {
		v, err := s.value()
		if err == nil && string(v) != "null" {
			complain(CodeInvalidMessage, "options must be an object.")
		}
		return err
	}
	return s.object(func(key string) error {
		v, err := s.value()
		if err != nil {
			return err
		}
		null, text := string(v) == "null", v[0] == '"'
		switch key {
		case "channel":
			r.Channel = ""
			if text {
				r.Channel, err = unquote(v)
			} else if !null {
				complain(CodeInvalidChannel, "options.channel must be a string.")
			}
		case "authenticated":
			r.Authenticated = string(v) == "true"
			if !r.Authenticated && !null && string(v) != "false" {
				complain(CodeInvalidMessage, "options.authenticated must be a boolean.")
			}
		case "socketId":
			r.Socket = ""
			if text {
				r.Socket, err = unquote(v)
			} else if !null {
				complain(CodeInvalidMessage, "options.socketId must be a string or null.")
			}
		case "ref":
			r.Ref = ""
			switch {
			case text:
				if r.Ref, err = unquote(v); len(r.Ref) > MaxRef {
					r.Ref = ""
					complain(CodeInvalidMessage, fmt.Sprintf("options.ref is longer than %d bytes.", MaxRef))
				}
			case !null:
				complain(CodeInvalidMessage, "options.ref must be a string.")
			}
		}
		return err
	})
}

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
	if len(payload) == 0 || string(payload) == "null" {
		return j, nil
	}
	var in struct {
		History  *bool `json:"history"`
		Presence *bool `json:"presence"`
		Resume   *struct {
			Offset json.RawMessage `json:"offset"`
			Epoch  *string         `json:"epoch"`
		} `json:"resume"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return j, invalidField(err, "payload")
	}
	j.History = in.History != nil && *in.History
	j.Presence = in.Presence != nil && *in.Presence
	if in.Resume == nil {
		return j, nil
	}
	j.Resume = true
	if in.Resume.Epoch != nil {
		j.EpochGiven, j.From.Epoch = true, *in.Resume.Epoch
	}
	offset, ok := parseOffset(in.Resume.Offset)
	if !ok {
		return j, &Error{Code: CodeInvalidMessage, Message: "Invalid message: payload.resume.offset must be an offset as given by the server."}
	}
	j.From.Offset = offset
	return j, nil
}

// HistoryRequest is the payload of a history request. The zero value asks for the latest ones.
type HistoryRequest struct {
	// Paged: the payload named at least one of the fields, so the answer says payload.more.
	Paged  bool
	Limit  int // 0 = as many as the rule keeps
	Before uint64
	After  uint64
	// HasAfter: after was given, possibly as 0 (from the very beginning).
	HasAfter bool
	Since    time.Time
}

// DecodeHistory reads a history request's payload; nil and null ask for the latest ones.
func DecodeHistory(payload []byte) (h HistoryRequest, failed *Error) {
	if len(payload) == 0 || string(payload) == "null" {
		return h, nil
	}
	var in struct {
		Limit  *int            `json:"limit"`
		Before json.RawMessage `json:"before"`
		After  json.RawMessage `json:"after"`
		Since  json.RawMessage `json:"since"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return h, invalidField(err, "payload")
	}
	bad := func(field, what string) (HistoryRequest, *Error) {
		return h, &Error{Code: CodeInvalidMessage, Message: "Invalid message: payload." + field + " must be " + what + "."}
	}
	if in.Limit != nil {
		if h.Limit = *in.Limit; h.Limit < 1 {
			return bad("limit", "a positive number")
		}
		h.Paged = true
	}
	var ok bool
	if given(in.Before) {
		if h.Before, ok = parseOffset(in.Before); !ok {
			return bad("before", "an offset")
		}
		h.Paged = true
	}
	if given(in.After) {
		if h.After, ok = parseOffset(in.After); !ok {
			return bad("after", "an offset")
		}
		h.Paged, h.HasAfter = true, true
	}
	if given(in.Since) {
		if h.Since, ok = parseTime(in.Since); !ok {
			return bad("since", "RFC 3339 or Unix milliseconds")
		}
		h.Paged = true
	}
	if given(in.Before) && (h.HasAfter || given(in.Since)) {
		return bad("before", "given without after and since")
	}
	return h, nil
}

// DecodePresenceData reads the payload of a presence_update: {"data": {…}}, the object at most maxBytes.
func DecodePresenceData(payload []byte, maxBytes int) (data []byte, failed *Error) {
	var in struct {
		Data json.RawMessage `json:"data"`
	}
	if len(payload) == 0 || payload[0] != '{' {
		return nil, &Error{Code: CodeInvalidMessage, Message: "Invalid message: payload must be an object with data."}
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return nil, invalidField(err, "payload")
	}
	switch {
	case string(in.Data) == "null":
		return nil, nil
	case len(in.Data) == 0 || in.Data[0] != '{':
		return nil, &Error{Code: CodeInvalidMessage, Message: "Invalid message: payload.data must be an object."}
	case len(in.Data) > maxBytes:
		return nil, &Error{Code: CodeTooLarge, Message: fmt.Sprintf("Presence data is larger than %d bytes.", maxBytes)}
	}
	return in.Data, nil
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// parseOffset reads an offset: a decimal string, or a number for those who type it by hand.
func parseOffset(raw []byte) (uint64, bool) {
	if len(raw) > 2 && raw[0] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	n, err := strconv.ParseUint(string(raw), 10, 63)
	return n, err == nil
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

func invalidField(err error, where string) *Error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		where += "." + e.Field
	}
	return &Error{Code: CodeInvalidMessage, Message: "Invalid message: " + where + " has a wrong type."}
}
