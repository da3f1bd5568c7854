package policy

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"fanfare/protocol"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Unmarshal reads one JSON value strictly: unknown and doubled names, wrong types, invalid UTF-8 and anything behind
// the value are errors, and they are *FieldError naming the place. Names are compared to the letter.
func Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return jsonError(err)
	}
	return nil
}

// serverDoc is the JSON of a server with every field optional.
type serverDoc struct {
	ID       *int64            `json:"id"`
	Name     *string           `json:"name"`
	Enabled  *bool             `json:"enabled"`
	Hash     *string           `json:"hash"`
	Strict   *bool             `json:"strict"`
	Channels *[]jsontext.Value `json:"channels"`

	LifecycleWebhooks *[]LifecycleWebhook `json:"lifecycle_webhooks"`
}

// DecodeServer reads the settings of a server. What the JSON does not name (or names null) keeps its value from
// base, so that a partial answer cannot wipe what it did not mention; a list of channels replaces the whole list.
// A rule that does not say enabled keeps its state when base has a rule with its id, else it is on. Ids may be
// missing (0): AssignIDs fills them in. The result is not checked: Compile does that.
func DecodeServer(data []byte, base Server) (Server, error) {
	var doc serverDoc
	if err := Unmarshal(data, &doc); err != nil {
		return Server{}, err
	}
	return doc.server(base)
}

// DecodeStored reads what Server.EncodeStored wrote.
func DecodeStored(data []byte, id protocol.ServerID) (Server, error) {
	var doc struct {
		serverDoc
		Eras    map[protocol.Channel]Era `json:"eras"`
		Changed time.Time                `json:"changed"`
	}
	if err := Unmarshal(data, &doc); err != nil {
		return Server{}, err
	}
	s, err := doc.server(Server{ID: id})
	s.Eras, s.Changed = doc.Eras, doc.Changed
	return s, err
}

// EncodeStored gives the settings as they are kept: their JSON, and the eras.
func (s *Server) EncodeStored() ([]byte, error) {
	return stdjson.Marshal(struct {
		*Server
		Eras    map[protocol.Channel]Era `json:"eras,omitempty"`
		Changed time.Time                `json:"changed,omitzero"`
	}{s, s.Eras, s.Changed})
}

func (doc *serverDoc) server(base Server) (Server, error) {
	s := base.Clone()
	if doc.ID != nil {
		s.ID = protocol.ServerID(*doc.ID)
	}
	set(&s.Name, doc.Name)
	set(&s.Enabled, doc.Enabled)
	set(&s.Hash, doc.Hash)
	set(&s.Strict, doc.Strict)
	if doc.LifecycleWebhooks != nil {
		s.LifecycleWebhooks = cloneWebhooks(*doc.LifecycleWebhooks)
	}
	if doc.Channels == nil {
		return s, nil
	}
	s.Channels = make([]Rule, 0, min(len(*doc.Channels), defaultRules))
	for i, raw := range *doc.Channels {
		r, err := DecodeRule(raw, 0, &base)
		if err != nil {
			return Server{}, Within(fmt.Sprintf("channels[%d]", i), err)
		}
		s.Channels = append(s.Channels, r)
	}
	return s, nil
}

// DecodeRule reads one whole rule: what the JSON does not name is off, empty or 0. Only enabled is different, see
// DecodeServer, and id, which is the given one (0 = none yet) unless the JSON names another. base may be nil.
func DecodeRule(data []byte, id int64, base *Server) (Rule, error) {
	var doc struct {
		Rule
		Enabled *bool `json:"enabled"`
	}
	if err := Unmarshal(data, &doc); err != nil {
		return Rule{}, err
	}
	r := doc.Rule
	if r.ID == 0 {
		r.ID = id
	}
	r.Enabled = true
	if base != nil && r.ID != 0 {
		if stored := base.RuleByID(r.ID); stored != nil {
			r.Enabled = stored.Enabled
		}
	}
	set(&r.Enabled, doc.Enabled)
	r.normalize()
	return r, nil
}

// AssignIDs gives an id to every rule that has none: that of stored's rule with the same target, so that rules keep
// their id through tools that drop it, else a new one from next. stored may be nil.
func AssignIDs(rules []Rule, stored *Server, next func() int64) {
	taken := make(map[int64]bool, len(rules))
	for i := range rules {
		taken[rules[i].ID] = true
	}
	for i := range rules {
		r := &rules[i]
		if r.ID != 0 {
			continue
		}
		if stored != nil {
			for j := range stored.Channels {
				if o := &stored.Channels[j]; o.Target() == r.Target() && !taken[o.ID] {
					r.ID = o.ID
				}
			}
		}
		for taken[r.ID] || r.ID == 0 {
			r.ID = next()
		}
		taken[r.ID] = true
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// jsonError says in our words what is wrong and where.
func jsonError(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		problem := "is not valid JSON"
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			problem = "is there twice"
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			problem = "is not valid JSON: it ends too early"
		default:
			problem += fmt.Sprintf(" (at byte %d)", syntax.ByteOffset)
		}
		return &FieldError{Field: pathOf(syntax.JSONPointer), Problem: problem}
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return &FieldError{Problem: err.Error()}
	}
	e := &FieldError{Field: pathOf(semantic.JSONPointer)}
	switch {
	case errors.Is(err, json.ErrUnknownName):
		e.Problem = "is not a known field"
	case semantic.Err != nil && !errors.Is(semantic.Err, strconv.ErrRange) && !errors.Is(semantic.Err, strconv.ErrSyntax):
		e.Problem = semantic.Err.Error()
	default:
		e.Problem = "must be " + typeText(semantic.GoType)
	}
	return e
}

func typeText(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "something else"
	}
	switch t.Kind() { //nolint:exhaustive // the rest does not occur
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "an integer"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// pathOf turns /channels/2/history into channels[2].history.
func pathOf(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil && b.Len() > 0 {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}
