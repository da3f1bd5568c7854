package policy

import "fanfare/protocol"

// Rule is the settings of one channel, or of everything below it. The JSON names are those of Xano's settings
// (xano-realtime.md 9.1); the fields from HistoryTTL on are ours and are left out at their defaults, so that a
// plain rule reads exactly as Xano writes it.
type Rule struct {
	// ID is a generated number of about 14 digits; it stays when the rule is edited.
	ID int64 `json:"id"`
	// Pattern is the name of a channel, or with Wildcard the base: without the /* that people see.
	Pattern     string `json:"pattern"`
	Description string `json:"description"`
	// Enabled off makes the rule as if it did not exist.
	Enabled bool `json:"enabled"`
	// Wildcard makes the rule cover every channel below Pattern, at any depth, and not Pattern itself.
	Wildcard bool `json:"wildcard"`

	AnonymousClients                       bool `json:"anonymous_clients"`
	Presence                               bool `json:"presence"`
	ClientPublicMessaging                  bool `json:"client_public_messaging"`
	ClientPublicMessagingAuthenticatedOnly bool `json:"client_public_messaging_authenticated_only"`
	ClientAuthenticatedMessaging           bool `json:"client_authenticated_messaging"`

	ClientPrivateMessaging                  bool `json:"client_private_messaging"`
	ClientPrivateMessagingAuthenticatedOnly bool `json:"client_private_messaging_authenticated_only"`

	// History is how many messages are kept for each channel: one of HistorySizes.
	History int `json:"history"`
	// HistoryTTL is the age limit of kept messages in seconds; 0 = none.
	HistoryTTL int64 `json:"history_ttl,omitzero"`
	// PatternJoin says who may open the pattern itself and so receive everything below it.
	PatternJoin PatternJoin `json:"pattern_join,omitzero"`
	Triggers    []Trigger   `json:"triggers,omitempty"`
	// RateLimit is client messages per minute and socket; 0 = the server-wide limit.
	RateLimit int `json:"rate_limit,omitzero"`

	// strict is Server.Strict, copied by Compile so that a decision needs the rule only.
	strict bool
	// era is that of Server.Eras, copied likewise.
	era Era
}

var historySizes = [...]int{0, 25, 50, 100, 250, 1000} //nolint:gochecknoglobals // constant table

// HistorySizes gives the values that Rule.History may have, smallest first.
func HistorySizes() []int { return append([]int(nil), historySizes[:]...) }

// PatternJoin says who may join a pattern. Its zero value is nobody.
type PatternJoin string

// The values of Rule.PatternJoin. Compile turns nobody, when written out, into the zero value.
const (
	PatternJoinNobody        PatternJoin = ""
	PatternJoinAuthenticated PatternJoin = "authenticated"
	PatternJoinAnyone        PatternJoin = "anyone"

	patternJoinNobodyText PatternJoin = "nobody"
)

// Target is the pattern as people see it: chat/* for a nested rule, the name for any other. It is also the
// channel a client names to join the pattern.
func (r *Rule) Target() protocol.Channel {
	if r.Wildcard {
		return protocol.Channel(r.Pattern + "/*")
	}
	return protocol.Channel(r.Pattern)
}

// Clone gives a copy that shares nothing with the rule.
func (r *Rule) Clone() Rule {
	c := *r
	c.Triggers = make([]Trigger, 0, len(r.Triggers))
	for i := range r.Triggers {
		t := r.Triggers[i]
		t.Secret = append(Secrets(nil), t.Secret...)
		c.Triggers = append(c.Triggers, t)
	}
	if len(c.Triggers) == 0 {
		c.Triggers = nil
	}
	return c
}
