package bench

import (
	"fmt"

	"fanfare/protocol"
)

// RuleError is a refusal by the channel's rule. Its text says what the rule needs.
type RuleError struct {
	channel string
	code    protocol.Code
	message string
}

// codeHistory is our own: a join that is answered without an epoch.
const codeHistory protocol.Code = "history_required"

// needs says what to change, by the code of the refusal.
func needs(code protocol.Code) string {
	switch code {
	case protocol.CodeChannelNotFound:
		return "no enabled rule covers it; add one, or name a channel that has one with --channel"
	case protocol.CodeAnonymousDenied:
		return "its rule needs anonymous_clients: true, or this tool a user (--user-token-file)"
	case protocol.CodePublicDisabled:
		return "its rule needs client_public_messaging: true, or this tool an API key and --publish api"
	case protocol.CodeAuthenticatedOnly:
		return "its rule has client_public_messaging_authenticated_only: switch it off, or give this tool a user (--user-token-file)"
	case protocol.CodePresenceDisabled:
		return "its rule needs presence: true"
	case codeHistory:
		return "its rule needs history: 25 or more"
	case protocol.CodeRateLimited:
		return "limits.frames_per_second is lower than this tool sends from one socket: lower --sender-rate"
	case protocol.CodeTooManyChannels:
		return "limits.channels_per_socket is lower than --joins"
	case protocol.CodeTooLarge:
		return "limits.message_bytes is lower than --size and its frame"
	case protocol.CodeMessageRejected, protocol.CodeJoinRejected, protocol.CodeTriggerFailed:
		return "its rule has a webhook that did not allow it"
	default:
		return "" // not about the rule
	}
}

func (e *RuleError) Error() string {
	text := fmt.Sprintf("channel %q: %s (%s)", e.channel, e.message, e.code)
	if e.code == protocol.CodeUnknownHash {
		return "no realtime server has this hash, or it is switched off; --hash names it"
	}
	if hint := needs(e.code); hint != "" {
		text += ": " + hint
	}
	return text
}
