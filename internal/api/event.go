package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// eventDoc is an event as a back end writes it.
type eventDoc struct {
	Channel      *string        `json:"channel"`
	Data         jsontext.Value `json:"data"`
	DboID        jsontext.Value `json:"dbo_id"`
	RowID        jsontext.Value `json:"row_id"`
	AuthTable    jsontext.Value `json:"auth_table"`
	AuthID       jsontext.Value `json:"auth_id"`
	SocketID     *string        `json:"socketId"`
	ID           *string        `json:"id"`
	Store        *bool          `json:"store"`
	ExpectOffset jsontext.Value `json:"expect_offset"`
}

// receiptDoc answers an event.
type receiptDoc struct {
	ID     string  `json:"id"`
	Offset *string `json:"offset"`
	Stored bool    `json:"stored"`
	// Duplicate: the same id was there before, this time nothing was delivered.
	Duplicate bool `json:"duplicate,omitzero"`
}

func receiptOf(r protocol.Receipt) receiptDoc {
	d := receiptDoc{ID: r.ID, Duplicate: r.Duplicate}
	if r.Position.Offset != 0 {
		offset := strconv.FormatUint(r.Position.Offset, 10)
		d.Offset, d.Stored = &offset, true
	}
	return d
}

func (a *API) postEvent(req *request) error {
	if err := req.query().end(); err != nil {
		return err
	}
	body, err := req.body()
	if err != nil {
		return err
	}
	var doc eventDoc
	if err := policy.Unmarshal(body, &doc); err != nil {
		return err
	}
	e, err := doc.form()
	if err != nil {
		return err
	}
	if err := a.complete(req.server, &doc, &e, false); err != nil {
		a.metrics.event(false, err)
		return err
	}
	ctx, cancel := context.WithTimeout(req.r.Context(), callTimeout)
	defer cancel()
	receipt, err := a.o.Backend.Publish(ctx, e)
	a.metrics.event(receipt.Position.Offset != 0, err)
	if err != nil {
		return publishError(err)
	}
	return send(req.w, http.StatusOK, receiptOf(receipt))
}

// publishError makes a deadline what it is for a publish: nobody knows.
func publishError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return protocol.ErrUnknownOutcome
	}
	return err
}

// form checks what can be checked without the settings.
func (d *eventDoc) form() (Event, error) {
	var e Event
	switch {
	case d.Channel == nil:
		return e, badField("channel", "is required")
	case d.Data == nil:
		return e, badField("data", "is required; null is allowed")
	}
	if err := d.audience(&e.Audience); err != nil {
		return e, err
	}
	if d.ID != nil {
		if err := checkID(*d.ID); err != nil {
			return e, err
		}
		e.ID = *d.ID
	}
	if absent(d.ExpectOffset) {
		return e, nil
	}
	text := string(d.ExpectOffset)
	if d.ExpectOffset.Kind() == '"' {
		if json.Unmarshal(d.ExpectOffset, &text) != nil {
			text = ""
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return e, badField("expect_offset", "must be an offset: a decimal number, or a string of one")
	}
	e.ExpectOffset = &n
	return e, nil
}

// checkID bounds what a back end may call an event. It goes into a header of the broker, where control characters
// and spaces at the ends would not survive.
func checkID(id string) error {
	if id == "" || len(id) > maxID {
		return badField("id", "must be 1 to %d bytes", maxID)
	}
	for _, c := range id {
		if c <= ' ' || c == 0x7f {
			return badField("id", "must not contain spaces or control characters")
		}
	}
	return nil
}

// audience reads whom the event is for: dbo_id and row_id, by those or Xano's other names, or a socket. As in Xano
// null, 0, "" and "0" are nobody in particular.
func (d *eventDoc) audience(to *protocol.Audience) error {
	table, tableName, err := either(d.DboID, "dbo_id", d.AuthTable, "auth_table")
	if err != nil {
		return err
	}
	row, rowName, err := either(d.RowID, "row_id", d.AuthID, "auth_id")
	if err != nil {
		return err
	}
	dbo, err := parseTable(table, tableName)
	if err != nil {
		return err
	}
	id, err := protocol.ParseRowID(row)
	switch socket := d.SocketID != nil && *d.SocketID != ""; {
	case err != nil:
		return badField(rowName, "must be an integer or a string")
	case socket && (dbo != 0 || id != ""):
		return badField("socketId", "cannot be used together with %s and %s", tableName, rowName)
	case socket:
		*to = protocol.Audience{Kind: protocol.Socket, Session: protocol.SessionID(*d.SocketID)}
	case dbo != 0 && id == "":
		return badField(rowName, "is required beside %s", tableName)
	case dbo == 0 && id != "":
		return badField(tableName, "is required beside %s", rowName)
	case dbo != 0:
		*to = protocol.Audience{Kind: protocol.User, DboID: dbo, RowID: id}
	}
	return nil
}

// either gives the one of two names that is there.
func either(a jsontext.Value, nameA string, b jsontext.Value, nameB string) (jsontext.Value, string, error) {
	switch {
	case absent(b):
		return a, nameA, nil
	case absent(a):
		return b, nameB, nil
	}
	return nil, "", badField(nameB, "is another name of %s; use one of them", nameA)
}

func absent(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == 'n' }

// parseTable reads the number of an auth table: an integer, or a string of one.
func parseTable(v jsontext.Value, name string) (int64, error) {
	if absent(v) || string(v) == `""` {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.Trim(string(v), `"`), 10, 64)
	if err != nil || n < 0 {
		return 0, badField(name, "must be the number of a table")
	}
	return n, nil
}

// complete checks an event against the settings and limits, and fills in the rest.
func (a *API) complete(s *policy.Server, doc *eventDoc, e *Event, atomic bool) error {
	ch, rule, err := a.findRule(s, *doc.Channel)
	switch {
	case err != nil:
		return err
	case ch.IsPattern():
		return protocol.ErrPatternSend
	}
	e.Store = doc.Store != nil && *doc.Store || e.ID != "" || e.ExpectOffset != nil || atomic
	if e.Store && !rule.AllowHistory() {
		return errHistoryRequired
	}
	if err := a.checkData(&doc.Data); err != nil {
		return err
	}
	e.Server, e.Rule, e.Channel, e.Data = s, rule, ch, json.RawMessage(doc.Data)
	e.Accepted = time.Now()
	return nil
}

// frameDepth is how deep data lies in the frame it goes out in.
const frameDepth = 2

// checkData compacts the data and holds it against the limits.
func (a *API) checkData(data *jsontext.Value) error {
	if err := data.Compact(); err != nil {
		return badField("data", "is not valid JSON")
	}
	if n := len(*data); n > a.o.Limits.MessageBytes {
		return &statusError{
			status: http.StatusUnprocessableEntity, Code: protocol.CodeTooLarge, Field: "data",
			Message: fmt.Sprintf("data is %d bytes, at most %d are allowed.", n, a.o.Limits.MessageBytes),
		}
	}
	if depth(*data)+frameDepth > a.o.Limits.JSONDepth {
		return &statusError{
			status: http.StatusUnprocessableEntity, Code: protocol.CodeTooDeep, Field: "data",
			Message: fmt.Sprintf("data is nested too deeply; a frame may have %d levels.", a.o.Limits.JSONDepth),
		}
	}
	return nil
}

// depth counts the levels of objects and lists in valid JSON.
func depth(v []byte) int {
	deepest, now := 0, 0
	text := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case text && c == '\\':
			i++
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
