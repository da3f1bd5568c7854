package policy

import (
	"maps"
	"strings"
	"time"

	"fanfare/protocol"
)

// Server is one realtime server ("workspace" in Xano's words): an address and its rules. Fill in the exported
// fields and hand it to Compile; what Compile returns must not be changed.
type Server struct {
	ID      protocol.ServerID `json:"id"`
	Name    string            `json:"name"`
	Enabled bool              `json:"enabled"`
	// Hash is the connection hash, the last segment of the socket's address.
	Hash string `json:"hash"`
	// Strict is the literal reading of Xano's documentation for rules with public and authenticated messaging both
	// on: every message of an authenticated client goes to authenticated clients only. Off, the sender chooses.
	Strict   bool   `json:"strict,omitzero"`
	Channels []Rule `json:"channels"`
	// LifecycleWebhooks get the record of comings and goings, where that is kept.
	LifecycleWebhooks []LifecycleWebhook `json:"lifecycle_webhooks,omitempty"`

	// Revision is where these settings stand in their store; 0 = not stored. It is not part of the settings.
	Revision uint64 `json:"-"`
	// Eras are the breaks in what is kept, by Rule.Target; Succeed makes them. They are stored beside the settings.
	Eras map[protocol.Channel]Era `json:"-"`
	// Changed is when they were last changed, if that is known.
	Changed time.Time `json:"-"`

	enabled index
	all     index // rules that are switched off too
}

// index finds the rule of a channel.
type index struct {
	exact  map[string]*Rule // by name
	nested map[string]*Rule // by base
}

func newIndex(rules []Rule, disabled bool) index {
	x := index{exact: make(map[string]*Rule), nested: make(map[string]*Rule)}
	for i := range rules {
		r := &rules[i]
		switch {
		case !r.Enabled && !disabled:
		case r.Wildcard:
			x.nested[r.Pattern] = r
		default:
			x.exact[r.Pattern] = r
		}
	}
	return x
}

// Compile checks the settings, brings them to their stored form (chat/* becomes base chat and wildcard) and makes
// them ready for lookup. It copies what it needs: the argument may be changed afterwards. Errors are *FieldError.
func Compile(in Server, limits Limits) (*Server, error) {
	s := in.Clone()
	for i := range s.Channels {
		s.Channels[i].normalize()
	}
	if err := s.Validate(limits); err != nil {
		return nil, err
	}
	for i := range s.Channels {
		r := &s.Channels[i]
		r.strict, r.era = s.Strict, s.Eras[r.Target()]
	}
	s.enabled, s.all = newIndex(s.Channels, false), newIndex(s.Channels, true)
	return &s, nil
}

// normalize brings a rule to its stored form.
func (r *Rule) normalize() {
	if target := protocol.Channel(r.Pattern); target.IsPattern() {
		r.Pattern = target.Base()
		r.Wildcard = true
	}
	if r.PatternJoin == patternJoinNobodyText {
		r.PatternJoin = PatternJoinNobody
	}
	for i := range r.Triggers {
		if r.Triggers[i].OnFailure == "" {
			r.Triggers[i].OnFailure = FailureBlock
		}
	}
}

// Rule gives the rule of a channel, or nil when none covers it: the enabled exact rule first, else the enabled
// nested rule with the longest base. For a pattern it is the enabled nested rule with exactly that base. The
// pointer is the same for every channel that one rule covers, as long as the Server is the same.
func (s *Server) Rule(ch protocol.Channel) *Rule {
	if s == nil || !s.Enabled {
		return nil
	}
	return s.enabled.rule(ch)
}

func (x *index) rule(ch protocol.Channel) *Rule {
	if ch.IsPattern() {
		return x.nested[ch.Base()]
	}
	name := string(ch)
	if r := x.exact[name]; r != nil {
		return r
	}
	if len(x.nested) == 0 {
		return nil
	}
	// Something must follow the slash, so the last byte is never the separator.
	for end := len(name) - 1; end > 0; {
		end = strings.LastIndexByte(name[:end], '/')
		if end <= 0 {
			return nil
		}
		if r := x.nested[name[:end]]; r != nil {
			return r
		}
	}
	return nil
}

// RuleByID gives the rule with a number, enabled or not, or nil.
func (s *Server) RuleByID(id int64) *Rule {
	for i := range s.Channels {
		if s.Channels[i].ID == id {
			return &s.Channels[i]
		}
	}
	return nil
}

// Clone gives a copy that shares nothing with the server and is not compiled.
func (s *Server) Clone() Server {
	c := *s
	c.enabled, c.all = index{}, index{}
	c.Eras = maps.Clone(s.Eras)
	c.Channels = make([]Rule, len(s.Channels))
	for i := range s.Channels {
		c.Channels[i] = s.Channels[i].Clone()
	}
	c.LifecycleWebhooks = cloneWebhooks(s.LifecycleWebhooks)
	return c
}
