package auth

import (
	"context"
	"errors"
)

// What Authenticate may return; always wrapped with detail fit for a log.
var (
	// ErrNoKeys: neither a secret, nor a key server, nor an encryption key is configured.
	ErrNoKeys = errors.New("no key for tokens is configured")
	// ErrInvalid: not a token we accept, or its signature or encryption does not hold.
	ErrInvalid = errors.New("token is invalid")
	// ErrTooLarge: longer than MaxTokenBytes.
	ErrTooLarge = errors.New("token is too large")
	// ErrExpired: exp has passed.
	ErrExpired = errors.New("token has expired")
	// ErrNotYetValid: nbf lies ahead.
	ErrNotYetValid = errors.New("token is not valid yet")
	// ErrClaims: genuine, but a claim has the wrong type or is too large.
	ErrClaims = errors.New("token has unusable claims")
	// ErrUnknownKey: the key server was asked and does not know the token's key.
	ErrUnknownKey = errors.New("token is signed with an unknown key")
	// ErrKeysUnavailable: the token's key is not known and the key server does not answer. It may well be a
	// good token: worth another try.
	ErrKeysUnavailable = errors.New("the key server cannot be reached")
)

// outcome is the metric's label for a result: a closed set.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, known := range []struct {
		err  error
		name string
	}{
		{ErrNoKeys, "no_keys"},
		{ErrTooLarge, "too_large"},
		{ErrExpired, "expired"},
		{ErrNotYetValid, "not_yet_valid"},
		{ErrClaims, "claims"},
		{ErrUnknownKey, "unknown_key"},
		{ErrKeysUnavailable, "keys_unavailable"},
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "canceled"},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	return "invalid"
}
