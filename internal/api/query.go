package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fanfare/protocol"
)

// query reads the parameters behind the question mark. The first thing that is wrong is kept in err; parameters
// that nobody asked for are wrong too, so that a typing error cannot pass for a default.
type query struct {
	values url.Values
	asked  map[string]bool
	err    error
}

func (req *request) query() *query {
	values, err := url.ParseQuery(req.r.URL.RawQuery)
	q := &query{values: values, asked: make(map[string]bool)}
	if err != nil {
		q.err = badParameter("query", "cannot be read")
	}
	return q
}

func (q *query) fail(name, format string, args ...any) {
	if q.err == nil {
		q.err = badParameter(name, format, args...)
	}
}

// text gives a parameter that may be there once.
func (q *query) text(name string) string {
	q.asked[name] = true
	v := q.values[name]
	switch {
	case len(v) == 0:
		return ""
	case len(v) > 1:
		q.fail(name, "is there more than once")
	case !utf8.ValidString(v[0]):
		q.fail(name, "is not UTF-8")
	}
	return v[0]
}

// number gives a parameter from 1 on; what is over the highest is cut.
func (q *query) number(name string, highest, absent int) int {
	text := q.text(name)
	if text == "" && !q.values.Has(name) {
		return absent
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		q.fail(name, "must be a number from 1 to %d", highest)
		return absent
	}
	return min(n, highest)
}

// boolean gives a parameter that is true or false.
func (q *query) boolean(name string) *bool {
	text := q.text(name)
	var v bool
	switch {
	case !q.values.Has(name):
		return nil
	case text == "true", text == "1":
		v = true
	case text == "false", text == "0":
	default:
		q.fail(name, "must be true or false")
	}
	return &v
}

// offset gives a parameter that is an offset.
func (q *query) offset(name string) *uint64 {
	text := q.text(name)
	if !q.values.Has(name) {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		q.fail(name, "must be an offset: a decimal number")
	}
	return &n
}

// moment gives a parameter that is RFC 3339 or Unix milliseconds.
func (q *query) moment(name string) time.Time {
	text := q.text(name)
	if !q.values.Has(name) {
		return time.Time{}
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= 0 && ms < maxMillis {
		return time.UnixMilli(ms)
	}
	// A + that was not encoded arrives as a space.
	t, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "+", 1))
	if err != nil || t.Year() < 1970 {
		q.fail(name, "must be a time as in RFC 3339, or Unix milliseconds")
		return time.Time{}
	}
	return t
}

// maxMillis is the year 10000.
const maxMillis = 253_402_300_800_000

// names gives a parameter that may be there many times.
func (q *query) names(name string) []string {
	q.asked[name] = true
	v := q.values[name]
	if len(v) > maxNames {
		q.fail(name, "is there %d times, at most %d are allowed", len(v), maxNames)
		return nil
	}
	return v
}

// cursor gives the position that a page answered as next. It may also be called after, as it is where things have no
// offsets of their own.
func (q *query) cursor() string {
	text := q.text("cursor")
	if after := q.text("after"); text == "" {
		text = after
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		q.fail("cursor", "is not one of ours")
	}
	return string(b)
}

// toCursor wraps a position, so that nobody builds on what is in it.
func toCursor(position string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(position))
}

// end gives the first error, or one about a parameter that was not asked for.
func (q *query) end() error {
	if q.err != nil {
		return q.err
	}
	for name := range q.values {
		if !q.asked[name] {
			return badParameter(quoted(name), "is not a known parameter")
		}
	}
	return nil
}

// quoted keeps a stranger's text in an answer short and printable.
func quoted(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most]
	}
	if plain := strconv.Quote(s); plain != `"`+s+`"` {
		return plain
	}
	return s
}

// body reads the whole body.
func (req *request) body() ([]byte, error) {
	b, err := io.ReadAll(req.r.Body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errBodyTooLarge
	}
	if err != nil {
		return nil, &statusError{status: http.StatusBadRequest, Code: codeInvalidBody, Message: "The body could not be read."}
	}
	return b, nil
}

// workspace gives the number in the path, if the key is for it.
func (req *request) workspace() (protocol.ServerID, error) {
	n, err := strconv.ParseInt(req.params["id"], 10, 64)
	if err != nil || n < 1 {
		return 0, errNoWorkspace
	}
	if !req.key.covers(protocol.ServerID(n)) {
		return 0, errKeyServer
	}
	return protocol.ServerID(n), nil
}

// etag is the entity tag of a revision.
func etag(revision uint64) string { return fmt.Sprintf("%q", strconv.FormatUint(revision, 10)) }

// matches tells whether a list of entity tags (If-Match, If-None-Match) names a revision.
func matches(header string, revision uint64) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || strings.Trim(tag, `"`) == strconv.FormatUint(revision, 10) {
			return true
		}
	}
	return false
}
