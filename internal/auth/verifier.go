package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"fanfare/protocol"
)

// Verifier checks tokens. Make one with New.
type Verifier struct {
	claims   Claims
	issuer   string
	audience string
	leeway   time.Duration
	now      func() time.Time
	log      *slog.Logger
	metrics  *metrics

	secret []byte     // nil = no HS* tokens
	jweKey []byte     // nil = no JWE
	keys   *keySource // nil = no RS*, PS*, ES*, EdDSA
}

// New checks the options and reads the cached keys. It starts nothing.
func New(o Options) (*Verifier, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	v := &Verifier{
		claims:   o.Claims,
		issuer:   o.Issuer,
		audience: o.Audience,
		leeway:   o.Leeway,
		now:      o.Now,
		log:      o.Logger,
		metrics:  m,
	}
	if o.JWTSecret != "" {
		v.secret = []byte(o.JWTSecret)
		if len(v.secret) < weakSecret {
			v.log.Warn("auth.jwt_secret is short enough to be guessed; use at least 32 random bytes",
				"bytes", len(v.secret))
		}
	}
	if o.JWEKey != "" {
		if v.jweKey, err = DecodeKey(o.JWEKey); err != nil {
			return nil, fmt.Errorf("auth.jwe_key: %w", err)
		}
	}
	if o.JWKSURL != "" {
		v.keys = newKeySource(o, m)
	}
	return v, nil
}

// Run keeps the keys of the key server fresh until ctx ends. Without a key server it only waits.
func (v *Verifier) Run(ctx context.Context) error {
	if v.keys == nil {
		<-ctx.Done()
		return nil
	}
	return v.keys.run(ctx)
}

// Authenticate gives the identity of a token. The identity is authenticated whenever the error is nil; an
// empty token is an error, since whether a client may come without one is not decided here.
//
// Only a token signed with a key not seen before waits for the key server, and no longer than ctx and
// Options.FetchTimeout allow.
func (v *Verifier) Authenticate(ctx context.Context, token string) (protocol.Identity, error) {
	id, err := v.authenticate(ctx, token)
	v.metrics.tokens.WithLabelValues(outcome(err)).Inc()
	return id, err
}

func (v *Verifier) authenticate(ctx context.Context, token string) (protocol.Identity, error) {
	if v.secret == nil && v.jweKey == nil && v.keys == nil {
		return protocol.Identity{}, ErrNoKeys
	}
	if len(token) > MaxTokenBytes {
		return protocol.Identity{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(token), MaxTokenBytes)
	}
	if err := checkAlphabet(token); err != nil {
		return protocol.Identity{}, err
	}
	payload, err := v.open(ctx, token)
	if err != nil {
		return protocol.Identity{}, err
	}
	return v.identity(payload)
}

// open gives the claims of a token whose signature or encryption holds.
func (v *Verifier) open(ctx context.Context, token string) ([]byte, error) {
	head, _, _ := strings.Cut(token, ".")
	switch strings.Count(token, ".") {
	case 2:
		h, err := parseHeader(head)
		if err != nil {
			return nil, err
		}
		return v.verify(ctx, token, h)
	case 4:
		h, err := parseHeader(head)
		if err != nil {
			return nil, err
		}
		return v.decrypt(ctx, token, h)
	}
	return nil, fmt.Errorf("%w: neither three parts (signed) nor five (encrypted)", ErrInvalid)
}

// checkAlphabet refuses what cannot stand in a compact token, before anything lenient gets to see it.
func checkAlphabet(token string) error {
	if token == "" {
		return fmt.Errorf("%w: empty", ErrInvalid)
	}
	for i := range len(token) {
		c := token[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("%w: byte %d cannot stand in a token", ErrInvalid, i)
		}
	}
	return nil
}

// header is what we use of a JOSE header.
type header struct {
	alg, enc, kid, cty, zip string
}

// parseHeader reads the first part of a token.
func parseHeader(part string) (header, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return header{}, fmt.Errorf("%w: header is not base64url", ErrInvalid)
	}
	if len(raw) > maxHeaderBytes {
		return header{}, fmt.Errorf("%w: header of %d bytes", ErrInvalid, len(raw))
	}
	members, err := parseObject(raw)
	if err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrInvalid, err)
	}
	for _, name := range []string{"jwk", "jku", "x5u", "x5c", "crit", "b64"} {
		if _, there := members[name]; there {
			return header{}, fmt.Errorf("%w: header carries %s", ErrInvalid, name)
		}
	}
	var h header
	for name, field := range map[string]*string{
		"alg": &h.alg, "enc": &h.enc, "kid": &h.kid, "cty": &h.cty, "zip": &h.zip,
	} {
		value, there := members[name]
		if !there {
			continue
		}
		if *field, err = stringValue(value); err != nil {
			return header{}, fmt.Errorf("%w: header: %s: %w", ErrInvalid, name, err)
		}
	}
	if h.alg == "" {
		return header{}, fmt.Errorf("%w: header has no alg", ErrInvalid)
	}
	return h, nil
}

// errCrypto stands for every way in which a signature or a decryption fails; more would only help attackers.
var errCrypto = errors.New("signature or encryption does not hold")
