package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// parseObject reads a JSON object strictly: valid UTF-8, no duplicate member at any depth (RFC 7519 lets a
// reader refuse them; taking one of two would let two readers see two identities), bounded depth.
func parseObject(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	if err := checkMembers(data); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, errors.New("not an object")
	}
	return members, nil
}

// level is one open object or array during the walk.
type level struct {
	seen map[string]struct{} // nil in an array
	name bool                // in an object: the next token is a name
}

func checkMembers(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var stack []level
	for {
		token, err := dec.Token()
		if err != nil {
			break // the end: the text is known to be valid
		}
		top := len(stack) - 1
		if top >= 0 && stack[top].name {
			if name, ok := token.(string); ok {
				if _, twice := stack[top].seen[name]; twice {
					return fmt.Errorf("member %.64q stands there twice", name)
				}
				stack[top].seen[name] = struct{}{}
				stack[top].name = false
				continue
			}
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if len(stack) == maxDepth {
				return fmt.Errorf("nested deeper than %d", maxDepth)
			}
			l := level{}
			if token == json.Delim('{') {
				l = level{seen: map[string]struct{}{}, name: true}
			}
			stack = append(stack, l)
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			top--
		}
		if top >= 0 && stack[top].seen != nil {
			stack[top].name = true // that was a value
		}
	}
	return nil
}

func stringValue(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", errors.New("not a string")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.New("not a string")
	}
	return s, nil
}
