package trigger

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// parseAnswer gives the JSON value of an answer without needless white space. No body is null. What is taken
// here goes to other clients in text frames, so it must be UTF-8 and no deeper than their parsers stand.
func parseAnswer(raw []byte, maxDepth int) (json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
		return json.RawMessage("null"), nil
	case !utf8.Valid(raw):
		return nil, errors.New("not UTF-8")
	case depth(raw) > maxDepth:
		return nil, errors.New("nested too deep")
	}
	var out bytes.Buffer
	out.Grow(len(raw))
	if err := json.Compact(&out, raw); err != nil {
		return nil, errors.New("not JSON")
	}
	return out.Bytes(), nil
}

// depth is how deep the objects and arrays of a JSON text are nested; of what is no JSON it is some number.
func depth(raw []byte) int {
	deepest, now := 0, 0
	text, escaped := false, false
	for _, c := range raw {
		switch {
		case escaped:
			escaped = false
		case text && c == '\\':
			escaped = true
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// rejects tells whether an answer says no.
func rejects(action Action, answer json.RawMessage) bool {
	switch string(answer) {
	case "false":
		return true
	case "null":
		return action == Message
	}
	return false
}
