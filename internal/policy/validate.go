package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"fanfare/protocol"
)

// Limits bound the settings. The zero value is the documented default.
type Limits struct {
	// ChannelBytes and ChannelSegments are the node's limits on channel names; a rule beyond them could never match.
	ChannelBytes, ChannelSegments int // 0 = 200, 16
	// Rules of one server.
	Rules int // 0 = 1000
}

// Bounds that nobody needed to configure so far.
const (
	defaultChannelBytes    = 200
	defaultChannelSegments = 16
	defaultRules           = 1000

	maxName        = 200
	maxDescription = 1000
	maxHash        = 64
	maxID          = 1<<53 - 1 // what a JavaScript client can hold
	maxHistoryTTL  = 10 * 365 * 24 * 60 * 60
	maxTriggers    = 8
	maxURL         = 2048
	maxTimeoutMS   = 30_000
	maxSecrets     = 4
	maxRateLimit   = 1_000_000
)

func (l Limits) withDefaults() Limits {
	if l.ChannelBytes == 0 {
		l.ChannelBytes = defaultChannelBytes
	}
	if l.ChannelSegments == 0 {
		l.ChannelSegments = defaultChannelSegments
	}
	if l.Rules == 0 {
		l.Rules = defaultRules
	}
	return l
}

// Validate checks the settings of one server, rules included. Errors are *FieldError.
func (s *Server) Validate(limits Limits) error {
	limits = limits.withDefaults()
	switch {
	case s.ID < 1 || s.ID > maxID:
		return field("id", "must be a number from 1")
	case len(s.Name) > maxName || !utf8.ValidString(s.Name):
		return field("name", "must be at most %d bytes of UTF-8", maxName)
	case !validHash(s.Hash):
		return field("hash", "must be 1 to %d of the characters A-Z a-z 0-9 - _", maxHash)
	case len(s.Channels) > limits.Rules:
		return field("channels", "has %d rules, at most %d are allowed", len(s.Channels), limits.Rules)
	}
	ids := make(map[int64]int, len(s.Channels))
	targets := make(map[protocol.Channel]int, len(s.Channels))
	for i := range s.Channels {
		r := &s.Channels[i]
		path := fmt.Sprintf("channels[%d]", i)
		if err := r.Validate(limits); err != nil {
			return Within(path, err)
		}
		if first, taken := targets[r.Target()]; taken {
			return field(path+".pattern", "%q is the pattern of channels[%d] already", r.Target(), first)
		}
		targets[r.Target()] = i
		if first, taken := ids[r.ID]; taken {
			return field(path+".id", "%d is the id of channels[%d] already", r.ID, first)
		}
		ids[r.ID] = i
	}
	return validateWebhooks(s.LifecycleWebhooks)
}

// Validate checks one rule in its stored form. Errors are *FieldError.
func (r *Rule) Validate(limits Limits) error {
	limits = limits.withDefaults()
	switch {
	case r.ID < 1 || r.ID > maxID:
		return field("id", "must be a number from 1 to %d", int64(maxID))
	case r.Pattern == "":
		return field("pattern", "is required")
	case r.Pattern != protocol.Channel(r.Pattern).Base():
		return field("pattern", "must not end in /* twice")
	case len(r.Description) > maxDescription || !utf8.ValidString(r.Description):
		return field("description", "must be at most %d bytes of UTF-8", maxDescription)
	case !slices.Contains(historySizes[:], r.History):
		return field("history", "must be one of %s", sizesText())
	case r.HistoryTTL < 0 || r.HistoryTTL > maxHistoryTTL:
		return field("history_ttl", "must be 0 to %d seconds", maxHistoryTTL)
	case r.RateLimit < 0 || r.RateLimit > maxRateLimit:
		return field("rate_limit", "must be 0 to %d messages per minute", maxRateLimit)
	case len(r.Triggers) > maxTriggers:
		return field("triggers", "has %d entries, at most %d are allowed", len(r.Triggers), maxTriggers)
	}
	if _, err := protocol.ParseChannel(string(r.Target()), limits.ChannelBytes, limits.ChannelSegments); err != nil {
		return field("pattern", "%v", err)
	}
	switch r.PatternJoin {
	case PatternJoinNobody, patternJoinNobodyText, PatternJoinAuthenticated, PatternJoinAnyone:
	default:
		return field("pattern_join", "must be nobody, authenticated or anyone")
	}
	for i := range r.Triggers {
		if err := r.Triggers[i].validate(); err != nil {
			return Within(fmt.Sprintf("triggers[%d]", i), err)
		}
	}
	return nil
}

func (t *Trigger) validate() error {
	switch {
	case !t.Actions.Join && !t.Actions.Message && t.URL != "":
		return field("actions", "must switch on join or message")
	case t.TimeoutMS < 0 || t.TimeoutMS > maxTimeoutMS:
		return field("timeout_ms", "must be 0 (default) to %d", maxTimeoutMS)
	case t.OnFailure != "" && t.OnFailure != FailureBlock && t.OnFailure != FailureAllow:
		return field("on_failure", "must be block or allow")
	}
	return validateTarget(t.URL, t.Secret)
}

func validHash(h string) bool {
	if h == "" || len(h) > maxHash {
		return false
	}
	for _, c := range []byte(h) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

func sizesText() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(historySizes), " ", ", "), "[]")
}

func field(name, format string, args ...any) *FieldError {
	return &FieldError{Field: name, Problem: fmt.Sprintf(format, args...)}
}

// Within puts a path before the field of a *FieldError.
func Within(path string, err error) error {
	if e, ok := err.(*FieldError); ok { //nolint:errorlint // made above, never wrapped
		c := *e
		c.Field = path
		if e.Field != "" {
			c.Field += "." + e.Field
		}
		return &c
	}
	return err
}
