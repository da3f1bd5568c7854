package xanoscript

import (
	"fmt"
	"strings"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Format writes rules in script form, so that Parse gives them back. The fields that only Fanfare has are not
// written: see Lost.
func Format(rules []policy.Rule) []byte {
	var b strings.Builder
	for i := range rules {
		if i > 0 {
			b.WriteByte('\n')
		}
		format(&b, &rules[i])
	}
	return []byte(b.String())
}

func format(b *strings.Builder, r *policy.Rule) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	name := r.Pattern
	if protocol.Channel(name).IsPattern() {
		name = string(r.Target()) // a base that itself ends in /* must not be taken for a target
	}
	line("%s %s {", block, quote(name))
	if r.Description != "" {
		line("  description = %s", quote(r.Description))
	}
	line("  active = %t", r.Enabled)
	line("  public_messaging = { active: %t, auth: %t }", r.ClientPublicMessaging, r.ClientPublicMessagingAuthenticatedOnly)
	line("  private_messaging = { active: %t, auth: %t }", r.ClientPrivateMessaging, r.ClientPrivateMessagingAuthenticatedOnly)
	line("  settings = {")
	line("    anonymous_clients: %t", r.AnonymousClients)
	line("    nested_channels: %t", r.Wildcard)
	line("    message_history: %d", r.History)
	line("    auth_channel: %t", r.ClientAuthenticatedMessaging)
	line("    presence: %t", r.Presence)
	line("  }")
	line("}")
}

// quote writes a string so that any text stays on its line.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Lost names the fields of a rule that its script form cannot hold.
func Lost(r *policy.Rule) []string {
	var out []string
	if r.HistoryTTL != 0 {
		out = append(out, "history_ttl")
	}
	if r.PatternJoin != policy.PatternJoinNobody {
		out = append(out, "pattern_join")
	}
	if len(r.Triggers) > 0 {
		out = append(out, "triggers")
	}
	if r.RateLimit != 0 {
		out = append(out, "rate_limit")
	}
	return out
}
