package protocol

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// RowID is a user's row as canonical JSON text: an integer (`42`) or a string (`"9f0c…"`, a UUID for
// example). The empty RowID stands for 0, nobody. Two are equal exactly when they are the same user's.
type RowID string

// ErrRowID is what ParseRowID returns for anything that is neither an integer nor a string.
var ErrRowID = errors.New("row_id must be an integer or a string")

// ParseRowID reads a JSON value. An integer stays a number, a string holding an integer becomes one, any
// other string stays a string; null and absent (empty raw) are 0.
func ParseRowID(raw []byte) (RowID, error) {
	s := strings.TrimSpace(string(raw))
	switch {
	case s == "" || s == "null":
		return "", nil
	case s[0] == '"':
		var text string
		if err := json.Unmarshal([]byte(s), &text); err != nil {
			return "", ErrRowID
		}
		return RowIDFromString(text), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s && s != "-0" {
		return "", ErrRowID // 7.0 and 1e3 as well as +7 and 007, which are no JSON
	}
	return RowIDFromInt(n), nil
}

// RowIDFromInt gives the RowID of an integer key.
func RowIDFromInt(n int64) RowID {
	if n == 0 {
		return ""
	}
	return RowID(strconv.FormatInt(n, 10))
}

// RowIDFromString gives the RowID of a textual key; a decimal integer counts as a number.
func RowIDFromString(text string) RowID {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return RowIDFromInt(n)
	}
	if text == "" {
		return ""
	}
	return RowID(AppendString(nil, strings.ToValidUTF8(text, "\ufffd")))
}

// JSON is the value as it stands on the wire.
func (r RowID) JSON() string {
	if r == "" {
		return "0"
	}
	return string(r)
}

// Text is the value without quotes, as triggers get it.
func (r RowID) Text() string {
	if r == "" {
		return "0"
	}
	if r[0] != '"' {
		return string(r)
	}
	var s string
	if json.Unmarshal([]byte(r), &s) != nil {
		return ""
	}
	return s
}

// MarshalJSON writes the number or the string.
func (r RowID) MarshalJSON() ([]byte, error) { return []byte(r.JSON()), nil }

// UnmarshalJSON reads what ParseRowID reads.
func (r *RowID) UnmarshalJSON(b []byte) error {
	v, err := ParseRowID(b)
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// Identity is who a session is. The zero Identity is an anonymous client.
type Identity struct {
	Authenticated bool
	DboID         int64
	RowID         RowID
	// Extras is a JSON object, or nil for {}.
	Extras json.RawMessage
	// Expires is when the token runs out; zero = never.
	Expires time.Time
}

// Same tells whether both are the same authenticated user.
func (i *Identity) Same(dbo int64, row RowID) bool {
	return i.Authenticated && i.DboID == dbo && i.RowID == row
}
