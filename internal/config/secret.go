package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what stands for a secret in anything printed.
const redacted = "[set]"

// Secret is a text that must not be printed. Every way of formatting, marshalling or logging it says only
// whether it is set.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal returns the text, for the one place that needs it.
func (s Secret) Reveal() string { return s.text }

// IsSet tells whether there is any text.
func (s Secret) IsSet() bool { return s.text != "" }

// String says "[set]" or nothing.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// Format makes every verb print String, the ones that would look into the struct included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText gives String to encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue gives String to slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// RevealAll returns the texts of several.
func RevealAll(secrets []Secret) []string {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		out[i] = s.text
	}
	return out
}
