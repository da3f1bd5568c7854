package protocol

import "fmt"

// Code is the machine-readable part of an error: payload.code of an error frame, code of an HTTP error.
type Code string

// The codes. Texts a stock client may show stand in messages; only the one for anonymous joins is known from
// Xano and kept to the letter.
const (
	CodeInvalidMessage      Code = "invalid_message"       // not a frame we understand
	CodeInvalidChannel      Code = "invalid_channel"       // empty, too long, too many segments, not UTF-8
	CodeTooLarge            Code = "too_large"             // over limits.message_bytes
	CodeTooDeep             Code = "too_deep"              // over limits.json_depth
	CodeUnknownAction       Code = "unknown_action"        //
	CodeChannelNotFound     Code = "channel_not_found"     // no enabled rule covers the name
	CodeAnonymousDenied     Code = "anonymous_not_allowed" // anonymous join without anonymous_clients
	CodePatternDenied       Code = "pattern_join_denied"   // the rule's pattern_join does not admit this client
	CodeNotJoined           Code = "not_joined"            //
	CodePublicDisabled      Code = "public_messaging_disabled"
	CodeAuthenticatedOnly   Code = "authenticated_only"
	CodePrivateDisabled     Code = "private_messaging_disabled"
	CodeRecipientNotFound   Code = "recipient_not_found"
	CodePatternSend         Code = "pattern_send" // sending to a pattern
	CodeJoinRejected        Code = "join_rejected"
	CodeMessageRejected     Code = "message_rejected"
	CodeTriggerFailed       Code = "trigger_failed"
	CodeRateLimited         Code = "rate_limited"
	CodeTooManyChannels     Code = "too_many_channels"
	CodeGap                 Code = "gap"
	CodeUnavailable         Code = "unavailable"     // the broker cannot be reached; nothing was stored
	CodeUnknownOutcome      Code = "unknown_outcome" // not confirmed in time; the same ref or id may be sent again
	CodeOverloaded          Code = "overloaded"      // a bounded queue is full; try again later
	CodeAuthenticationError Code = "authentication_failed"
	CodeTokenExpired        Code = "token_expired"
	CodeUnknownHash         Code = "unknown_hash"
	CodeRemoved             Code = "removed" // no longer allowed on the channel after a change of settings
	CodePresenceDisabled    Code = "presence_disabled"
	CodeInternal            Code = "internal"
)

// Error is an answer for a client: a code, a harmless text, and optionally how many seconds to wait.
type Error struct {
	Code       Code
	Message    string
	Detail     string // what exactly is wrong, where the message is the same for many things; "" = nothing to add
	RetryAfter int    // seconds; 0 = not said
}

// Error makes it an error.
func (e *Error) Error() string {
	if e.Detail != "" {
		return fmt.Sprintf("%s: %s %s", e.Code, e.Message, e.Detail)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

const invalidText = "Invalid message."

// The errors that carry no detail of their own (xano-realtime.md 12.7).
var (
	ErrAnonymousDenied   = &Error{Code: CodeAnonymousDenied, Message: "Anonymous clients cannot join this channel."}
	ErrChannelNotFound   = &Error{Code: CodeChannelNotFound, Message: "Channel not found."}
	ErrNotJoined         = &Error{Code: CodeNotJoined, Message: "You must join this channel first."}
	ErrPublicDisabled    = &Error{Code: CodePublicDisabled, Message: "Public messaging is disabled on this channel."}
	ErrAuthenticatedOnly = &Error{Code: CodeAuthenticatedOnly, Message: "Only authenticated clients can send messages on this channel."}
	ErrPrivateDisabled   = &Error{Code: CodePrivateDisabled, Message: "Private messaging is disabled on this channel."}
	ErrRecipientNotFound = &Error{Code: CodeRecipientNotFound, Message: "Recipient is not in this channel."}
	ErrJoinRejected      = &Error{Code: CodeJoinRejected, Message: "Join was rejected."}
	ErrMessageRejected   = &Error{Code: CodeMessageRejected, Message: "Message was rejected."}
	ErrInvalidMessage    = &Error{Code: CodeInvalidMessage, Message: invalidText}
	ErrPatternDenied     = &Error{Code: CodePatternDenied, Message: "This pattern cannot be joined."}
	ErrPatternSend       = &Error{Code: CodePatternSend, Message: "Messages cannot be sent to a pattern."}
	ErrUnknownHash       = &Error{Code: CodeUnknownHash, Message: "Unknown connection hash."}
	ErrPresenceDisabled  = &Error{Code: CodePresenceDisabled, Message: "Presence is disabled on this channel."}
	ErrUnavailable       = &Error{Code: CodeUnavailable, Message: "The message broker cannot be reached. The message was not sent."}
	ErrUnknownOutcome    = &Error{Code: CodeUnknownOutcome, Message: "The message was not confirmed in time and may have been sent. Sending it again with the same ref is safe."}
	ErrOverloaded        = &Error{Code: CodeOverloaded, Message: "Too many messages are waiting. Try again later."}
	ErrTriggerFailed     = &Error{Code: CodeTriggerFailed, Message: "Message was rejected."}
	ErrInternal          = &Error{Code: CodeInternal, Message: "Internal error."}
)

// CloseCode ends a socket. Stock clients come back only from 1006, 1011–1014 and 4000.
type CloseCode uint16

// Close codes in use.
const (
	CloseTooLarge     CloseCode = 1009 // beyond 16 times limits.message_bytes
	CloseRestart      CloseCode = 1012 // drain
	CloseTryAgain     CloseCode = 1013 // overloaded, slow consumer, cut from the broker
	CloseGoAway       CloseCode = 4401 // unknown hash, realtime disabled, disconnected by a back end
	CloseReconnecting CloseCode = 4000 // the client's own; echoed
)

// Invalid is the error about a frame that is not one we understand, or over a limit.
func Invalid(code Code, detail string) *Error {
	return &Error{Code: code, Message: invalidText, Detail: detail}
}
