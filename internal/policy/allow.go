package policy

import "fanfare/protocol"

// Errors of ours that have no counterpart in protocol.
var (
	// ErrAuthenticatedDisabled refuses a message with authenticated:true where the rule does not allow any.
	ErrAuthenticatedDisabled = &protocol.Error{
		Code: CodeAuthenticatedDisabled, Message: "Authenticated messaging is disabled on this channel.",
	}
	// ErrTargetAnonymous refuses a private message to an anonymous member where the rule wants both authenticated.
	ErrTargetAnonymous = &protocol.Error{
		Code:    protocol.CodeAuthenticatedOnly,
		Message: "Private messages on this channel go between authenticated clients only.",
	}
)

// CodeAuthenticatedDisabled is the code of ErrAuthenticatedDisabled.
const CodeAuthenticatedDisabled protocol.Code = "authenticated_messaging_disabled"

// Send is what a client asks for when it sends a message.
type Send struct {
	// Authenticated is options.authenticated.
	Authenticated bool
	// Private: options.socketId names a target. It decides before Authenticated.
	Private bool
}

// verdict is a decision with the flag that made it; the flag is a JSON name of Rule, or empty.
type verdict struct {
	audience protocol.AudienceKind
	flag     string
	err      *protocol.Error
}

// AllowJoin decides a join. pattern tells whether the client named the pattern itself (chat/*). The error is nil
// when the join is allowed.
func (r *Rule) AllowJoin(id *protocol.Identity, pattern bool) *protocol.Error {
	return r.join(id, pattern).err
}

// AllowSend decides a message and says who receives it: protocol.Everyone, protocol.Authenticated, or
// protocol.Socket for a private one, which needs AllowTarget besides.
func (r *Rule) AllowSend(id *protocol.Identity, s Send) (protocol.AudienceKind, *protocol.Error) {
	v := r.send(id, s)
	return v.audience, v.err
}

// AllowTarget decides whether a private message may go from sender to target. Whether the target is a member is
// for the caller to know.
func (r *Rule) AllowTarget(sender, target *protocol.Identity) *protocol.Error {
	return r.target(sender, target).err
}

// AllowHistory decides whether a member may ask for history; whose entries it sees is a matter of their audience.
// A rule without history is no refusal: the answer is an empty list.
func (r *Rule) AllowHistory() bool { return r != nil && r.History > 0 }

// AllowPresence decides whether a member may see who is there, and publish data of its own.
func (r *Rule) AllowPresence() *protocol.Error {
	switch {
	case r == nil:
		return protocol.ErrChannelNotFound
	case !r.Presence:
		return protocol.ErrPresenceDisabled
	}
	return nil
}

// Admits tells whether an audience includes an identity. Socket and User audiences are decided by the session
// and by Identity.Same.
func Admits(kind protocol.AudienceKind, id *protocol.Identity) bool {
	switch kind {
	case protocol.Everyone:
		return true
	case protocol.Authenticated:
		return id.Authenticated
	case protocol.User, protocol.Socket:
	}
	return false
}

func (r *Rule) join(id *protocol.Identity, pattern bool) verdict {
	switch {
	case r == nil:
		return verdict{err: protocol.ErrChannelNotFound}
	case !pattern:
	case !r.Wildcard:
		return verdict{flag: "wildcard", err: protocol.ErrPatternDenied}
	case r.PatternJoin == PatternJoinAnyone:
	case r.PatternJoin == PatternJoinAuthenticated && id.Authenticated:
	default:
		return verdict{flag: "pattern_join", err: protocol.ErrPatternDenied}
	}
	switch {
	case id.Authenticated && pattern:
		return verdict{flag: "pattern_join"}
	case id.Authenticated:
		return verdict{}
	case !r.AnonymousClients:
		return verdict{flag: "anonymous_clients", err: protocol.ErrAnonymousDenied}
	}
	return verdict{flag: "anonymous_clients"}
}

func (r *Rule) send(id *protocol.Identity, s Send) verdict {
	switch {
	case r == nil:
		return verdict{err: protocol.ErrChannelNotFound}
	case !id.Authenticated && !r.AnonymousClients:
		// It could not have joined; a change of the rule may be on its way to the session.
		return verdict{flag: "anonymous_clients", err: protocol.ErrAuthenticatedOnly}
	case s.Private:
		return r.sendPrivate(id, s)
	case s.Authenticated:
		return r.sendAuthenticated(id)
	}
	return r.sendPublic(id)
}

func (r *Rule) sendPrivate(id *protocol.Identity, s Send) verdict {
	switch {
	case !r.ClientPrivateMessaging:
		return verdict{flag: "client_private_messaging", err: protocol.ErrPrivateDisabled}
	case id.Authenticated:
	case r.ClientPrivateMessagingAuthenticatedOnly:
		return verdict{flag: "client_private_messaging_authenticated_only", err: protocol.ErrAuthenticatedOnly}
	case s.Authenticated:
		return verdict{err: protocol.ErrAuthenticatedOnly}
	}
	return verdict{audience: protocol.Socket, flag: "client_private_messaging"}
}

func (r *Rule) sendAuthenticated(id *protocol.Identity) verdict {
	switch {
	case !id.Authenticated:
		return verdict{flag: "client_authenticated_messaging", err: protocol.ErrAuthenticatedOnly}
	case !r.ClientAuthenticatedMessaging:
		return verdict{flag: "client_authenticated_messaging", err: ErrAuthenticatedDisabled}
	}
	return verdict{audience: protocol.Authenticated, flag: "client_authenticated_messaging"}
}

func (r *Rule) sendPublic(id *protocol.Identity) verdict {
	if !r.ClientPublicMessaging {
		switch {
		case !r.ClientAuthenticatedMessaging:
			return verdict{flag: "client_public_messaging", err: protocol.ErrPublicDisabled}
		case !id.Authenticated:
			return verdict{flag: "client_authenticated_messaging", err: protocol.ErrAuthenticatedOnly}
		}
		// A plain send on a channel that has authenticated messages only is one of those (12.5).
		return verdict{audience: protocol.Authenticated, flag: "client_authenticated_messaging"}
	}
	switch {
	case id.Authenticated && r.strict && r.ClientAuthenticatedMessaging:
		return verdict{audience: protocol.Authenticated, flag: "client_authenticated_messaging"}
	case !id.Authenticated && r.ClientPublicMessagingAuthenticatedOnly:
		return verdict{flag: "client_public_messaging_authenticated_only", err: protocol.ErrAuthenticatedOnly}
	}
	return verdict{audience: protocol.Everyone, flag: "client_public_messaging"}
}

func (r *Rule) target(sender, target *protocol.Identity) verdict {
	v := r.send(sender, Send{Private: true})
	if v.err == nil && r.ClientPrivateMessagingAuthenticatedOnly && !target.Authenticated {
		return verdict{flag: "client_private_messaging_authenticated_only", err: ErrTargetAnonymous}
	}
	return v
}
