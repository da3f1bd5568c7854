package protocol

import (
	"errors"
	"fmt"
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
	case ActionUnknown:
	}
	return "unknown"
}

// MaxRef is the longest options.ref in bytes, MaxKey the longest options.key.
const (
	MaxRef = 64
	MaxKey = 64
)

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
	// Key is options.key; empty when absent. A message with a key is the same publication whichever socket sends it
	// again; only who knows the key can do so.
	Key string
	// Payload is any JSON value; nil when absent.
	Payload []byte
}

// Decode reads one frame of at most maxDepth nested brackets. Of members that stand twice the last one counts,
// and names are compared in their exact case. On an error the Request holds what could be read, so that the
// answer can name the channel and the ref. It never keeps b beyond Payload.
func Decode(b []byte, maxDepth int) (r Request, failed *Error) {
	if !utf8.Valid(b) {
		return r, invalid("not valid UTF-8.")
	}
	s := scanner{b: b, max: maxDepth}
	s.space()
	if s.i >= len(b) || b[s.i] != '{' {
		return r, invalid("not a JSON object.")
	}
	var raw rawFrame
	err := s.object(func(key []byte) (err error) {
		switch string(key) {
		case "action":
			raw.action, err = s.value()
		case "options":
			raw.options = rawOptions{}
			err = s.options(&raw.options)
		case "payload":
			raw.payload, err = s.value()
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil {
		s.space()
		if s.i != len(b) {
			err = errSyntax
		}
	}
	r, failed = raw.request()
	switch {
	case errors.Is(err, errDepth):
		return r, &Error{Code: CodeTooDeep, Message: invalidText, Detail: fmt.Sprintf("nested deeper than %d.", maxDepth)}
	case err != nil:
		return r, invalid(err.Error() + ".")
	}
	return r, failed
}

func invalid(text string) *Error {
	return &Error{Code: CodeInvalidMessage, Message: invalidText, Detail: text}
}

// rawFrame holds the texts of a frame's members as they were last seen; nil = absent. They are judged only
// when the whole frame has been read.
type rawFrame struct {
	action, payload []byte
	options         rawOptions
}

type rawOptions struct {
	channel, authenticated, socket, ref, key []byte
	wrong                                    bool // neither an object nor null
}

// options reads the value of options.
func (s *scanner) options(raw *rawOptions) error {
	if s.i < len(s.b) && s.b[s.i] != '{' {
		v, err := s.value()
		raw.wrong = string(v) != "null"
		return err
	}
	return s.object(func(key []byte) (err error) {
		switch string(key) {
		case "channel":
			raw.channel, err = s.value()
		case "authenticated":
			raw.authenticated, err = s.value()
		case "socketId":
			raw.socket, err = s.value()
		case "ref":
			raw.ref, err = s.value()
		case "key":
			raw.key, err = s.value()
		default:
			err = s.skip()
		}
		return err
	})
}

// request judges the texts. What is wrong in one member does not keep the others from being read.
func (raw *rawFrame) request() (r Request, failed *Error) {
	complain := func(code Code, text string) {
		if failed == nil {
			failed = &Error{Code: code, Message: invalidText, Detail: text}
		}
	}
	switch {
	case raw.action == nil || string(raw.action) == `""`:
		complain(CodeInvalidMessage, "action is missing.")
	case raw.action[0] != '"':
		complain(CodeInvalidMessage, "action must be a string.")
	default:
		r.Action = actionOf(raw.action)
	}
	o := &raw.options
	if o.wrong {
		complain(CodeInvalidMessage, "options must be an object.")
	}
	var ok bool
	if r.Channel, ok = optionalString(o.channel); !ok {
		complain(CodeInvalidChannel, "options.channel must be a string.")
	}
	if r.Authenticated, ok = optionalBool(o.authenticated); !ok {
		complain(CodeInvalidMessage, "options.authenticated must be a boolean.")
	}
	if r.Socket, ok = optionalString(o.socket); !ok {
		complain(CodeInvalidMessage, "options.socketId must be a string or null.")
	}
	if r.Ref, ok = optionalString(o.ref); !ok {
		complain(CodeInvalidMessage, "options.ref must be a string.")
	} else if string(o.ref) == `""` { // could not be told from none in an answer
		complain(CodeInvalidMessage, "options.ref must not be empty.")
	} else if len(r.Ref) > MaxRef {
		r.Ref = ""
		complain(CodeInvalidMessage, fmt.Sprintf("options.ref is longer than %d bytes.", MaxRef))
	}
	if r.Key, ok = optionalString(o.key); !ok {
		complain(CodeInvalidMessage, "options.key must be a string.")
	} else if len(r.Key) > MaxKey {
		r.Key = ""
		complain(CodeInvalidMessage, fmt.Sprintf("options.key is longer than %d bytes.", MaxKey))
	}
	r.Payload = raw.payload
	if failed == nil && r.Action == ActionUnknown {
		failed = &Error{Code: CodeUnknownAction, Message: invalidText, Detail: "unknown action."}
	}
	return r, failed
}

// actionOf reads the value of action, a JSON string.
func actionOf(raw []byte) Action {
	switch string(unquote(raw)) {
	case "join":
		return ActionJoin
	case "leave":
		return ActionLeave
	case "message":
		return ActionMessage
	case "history":
		return ActionHistory
	case "presence_update":
		return ActionPresenceUpdate
	}
	return ActionUnknown
}

// optionalString reads a value that is a string, null or absent (nil); false when it is anything else, or no text.
func optionalString(raw []byte) (string, bool) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", true
	case raw[0] != '"' || broken(raw):
		return "", false
	}
	return string(unquote(raw)), true
}
