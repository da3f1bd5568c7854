package policy

import (
	"fmt"

	"fanfare/protocol"
)

// Op is something a client may want to do on a channel.
type Op string

// The operations that Explain knows.
const (
	OpJoin              Op = "join"
	OpSend              Op = "send"
	OpSendAuthenticated Op = "send_authenticated"
	OpSendPrivate       Op = "send_private"
	OpPresence          Op = "presence"
	OpHistory           Op = "history"
)

// Ops gives all operations.
func Ops() []Op {
	return []Op{OpJoin, OpSend, OpSendAuthenticated, OpSendPrivate, OpPresence, OpHistory}
}

// Question is what Explain answers.
type Question struct {
	Identity protocol.Identity
	Channel  protocol.Channel
	Op       Op
	// Target is who a private message is for; nil = left open.
	Target *protocol.Identity
}

// Explanation says whether an operation is allowed and why.
type Explanation struct {
	Allowed bool
	// Rule is the one that covers the channel; nil = none.
	Rule *Rule
	// Flag is the JSON name of the field that decided; empty when none did.
	Flag string
	// Audience is who receives a message; meaningful for allowed sends.
	Audience protocol.AudienceKind
	// Code is that of the error a client would get; empty when allowed.
	Code protocol.Code
	// Text is a sentence for people.
	Text string
}

// Explain says what the decisions of this package say, and why. Triggers are not asked: Text mentions them.
func Explain(s *Server, q Question) Explanation {
	if s == nil {
		return Explanation{Code: protocol.CodeUnknownHash, Text: "There is no such realtime server."}
	}
	if !s.Enabled {
		return Explanation{Flag: "enabled", Code: protocol.CodeUnknownHash, Text: "Realtime is disabled for this server."}
	}
	r := s.Rule(q.Channel)
	if r == nil {
		return Explanation{Code: protocol.CodeChannelNotFound, Text: noRuleText(s, q.Channel)}
	}
	e := r.explain(q)
	e.Rule = r
	who := "An anonymous client"
	if q.Identity.Authenticated {
		who = "An authenticated client"
	}
	rule := fmt.Sprintf("rule %d (%s)", r.ID, r.Target())
	switch {
	case e.Code != "":
		e.Text = fmt.Sprintf("%s may not %s: %s", who, opText(q.Op), e.Text)
	case e.Text == "":
		e.Text = fmt.Sprintf("%s may %s.", who, opText(q.Op))
	}
	e.Text += " Decided by " + rule
	if e.Flag != "" {
		e.Text += fmt.Sprintf(", %s: %v", e.Flag, r.flag(e.Flag))
	}
	e.Text += "." + r.triggerText(q.Op, e.Allowed)
	return e
}

func (r *Rule) explain(q Question) Explanation {
	var v verdict
	switch q.Op {
	case OpJoin:
		v = r.join(&q.Identity, q.Channel.IsPattern())
	case OpSend, OpSendAuthenticated, OpSendPrivate:
		return r.explainSend(q)
	case OpPresence, OpHistory:
		if v = r.join(&q.Identity, q.Channel.IsPattern()); v.err != nil {
			break
		}
		if q.Op == OpPresence {
			v = verdict{flag: "presence", err: r.AllowPresence()}
			break
		}
		e := Explanation{Allowed: true, Flag: "history"}
		if !r.AllowHistory() {
			e.Text = "The request is answered with an empty list, because no history is kept."
		}
		return e
	default:
		return Explanation{Code: protocol.CodeUnknownAction, Text: "the operation is not known."}
	}
	return v.explanation()
}

func (r *Rule) explainSend(q Question) Explanation {
	if q.Channel.IsPattern() {
		return verdict{err: protocol.ErrPatternSend}.explanation()
	}
	if v := r.join(&q.Identity, false); v.err != nil {
		return v.explanation() // a sender must be a member
	}
	send := Send{Authenticated: q.Op == OpSendAuthenticated, Private: q.Op == OpSendPrivate}
	v := r.send(&q.Identity, send)
	if v.err == nil && send.Private && q.Target != nil {
		v = r.target(&q.Identity, q.Target)
	}
	e := v.explanation()
	if e.Allowed {
		e.Audience = v.audience
		switch v.audience {
		case protocol.Authenticated:
			e.Text = "The message goes to the authenticated members only."
		case protocol.Socket:
			e.Text = "The message goes to the one socket it names, if that is a member"
			if r.ClientPrivateMessagingAuthenticatedOnly {
				e.Text += " and authenticated"
			}
			e.Text += "."
		case protocol.Everyone:
			e.Text = "The message goes to every member."
		case protocol.User:
		}
	}
	return e
}

func (v verdict) explanation() Explanation {
	e := Explanation{Allowed: v.err == nil, Flag: v.flag}
	if v.err != nil {
		e.Code, e.Text = v.err.Code, v.err.Message
	}
	return e
}

func opText(op Op) string {
	switch op {
	case OpJoin:
		return "join this channel"
	case OpSend:
		return "send a message"
	case OpSendAuthenticated:
		return "send an authenticated message"
	case OpSendPrivate:
		return "send a private message"
	case OpPresence:
		return "see who is there"
	case OpHistory:
		return "ask for history"
	}
	return string(op)
}

// noRuleText says why no rule covers a channel: often there is one, switched off, or the base of a nested one was
// named.
func noRuleText(s *Server, ch protocol.Channel) string {
	for i := range s.Channels {
		r := &s.Channels[i]
		switch {
		case !r.Enabled && (r.Target() == ch || r.Target().Covers(ch)):
			return fmt.Sprintf("No enabled rule covers this channel; rule %d (%s) would, but it is disabled.", r.ID, r.Target())
		case r.Enabled && r.Wildcard && r.Pattern == string(ch):
			return fmt.Sprintf("No rule covers this channel; rule %d (%s) covers what is below it, not the channel itself.", r.ID, r.Target())
		}
	}
	return "No rule covers this channel."
}

func (r *Rule) triggerText(op Op, allowed bool) string {
	for i := range r.Triggers {
		a := r.Triggers[i].Actions
		join := op == OpJoin && a.Join
		message := (op == OpSend || op == OpSendAuthenticated || op == OpSendPrivate) && a.Message
		if allowed && (join || message) {
			return " A trigger of the rule is asked besides and may still refuse."
		}
	}
	return ""
}

// flag gives the value of a field by its JSON name.
func (r *Rule) flag(name string) any {
	switch name {
	case "wildcard":
		return r.Wildcard
	case "anonymous_clients":
		return r.AnonymousClients
	case "presence":
		return r.Presence
	case "client_public_messaging":
		return r.ClientPublicMessaging
	case "client_public_messaging_authenticated_only":
		return r.ClientPublicMessagingAuthenticatedOnly
	case "client_authenticated_messaging":
		return r.ClientAuthenticatedMessaging
	case "client_private_messaging":
		return r.ClientPrivateMessaging
	case "client_private_messaging_authenticated_only":
		return r.ClientPrivateMessagingAuthenticatedOnly
	case "pattern_join":
		if r.PatternJoin == PatternJoinNobody {
			return patternJoinNobodyText
		}
		return r.PatternJoin
	case "history":
		return r.History
	}
	return "?"
}
