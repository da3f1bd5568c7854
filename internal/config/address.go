package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// Address is the URL of a broker. It may hold a password, which no formatter prints.
type Address struct{ url string }

// NewAddress wraps a URL.
func NewAddress(text string) Address { return Address{url: text} }

// Reveal returns the URL with its password, for dialling.
func (a Address) Reveal() string { return a.url }

// String is the URL with its password masked.
func (a Address) String() string {
	u, err := url.Parse(a.url)
	if err != nil {
		return redacted
	}
	if u.User != nil {
		if _, has := u.User.Password(); !has {
			// nats://TOKEN@host: the user part alone is a secret too.
			u.User = url.User("xxxxx")
		}
	}
	return u.Redacted()
}

// Format makes every verb print String.
func (a Address) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// MarshalText gives String to encoders.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// LogValue gives String to slog.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Reveal returns the URLs of addresses with their passwords.
func Reveal(addresses []Address) []string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i] = a.Reveal()
	}
	return out
}
