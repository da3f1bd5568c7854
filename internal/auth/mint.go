package auth

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fanfare/protocol"
)

// MintOptions says what to put into a token and how to seal it.
type MintOptions struct {
	// Algorithm: HS256, HS384, HS512, dir or A256KW; empty = HS256 with a Secret, else A256KW as Xano does.
	Algorithm string
	// Secret signs HS*.
	Secret string
	// Key encrypts dir and A256KW, as Options.JWEKey.
	Key string
	// Encryption is the enc of an encrypted token; empty = A256GCM for dir, A256CBC-HS512 for A256KW.
	Encryption string
	// Claims names the claims; dots make nested objects.
	Claims Claims

	DboID  int64
	RowID  protocol.RowID
	Extras json.RawMessage // an object; empty = none
	// Issuer and Audience, when set, become iss and aud.
	Issuer, Audience string
	// Lifetime sets exp; 0 = the token never runs out.
	Lifetime time.Duration
	// Now is when the token is made; zero = now.
	Now time.Time
}

// Mint makes a token that a Verifier with the same secret or key and the same claim names accepts.
func Mint(o MintOptions) (string, error) {
	payload, err := o.payload()
	if err != nil {
		return "", err
	}
	if o.Algorithm == "" {
		o.Algorithm = "HS256"
		if o.Secret == "" {
			o.Algorithm = string(jose.A256KW)
		}
	}
	var token string
	switch {
	case strings.HasPrefix(o.Algorithm, "HS"):
		token, err = sign(o.Algorithm, o.Secret, payload)
	default:
		token, err = seal(o.Algorithm, o.Encryption, o.Key, payload)
	}
	if err != nil {
		return "", err
	}
	if len(token) > MaxTokenBytes {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(token), MaxTokenBytes)
	}
	return token, nil
}

func (o MintOptions) payload() ([]byte, error) {
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	names := o.Claims.withDefaults()
	claims := map[string]any{"iat": now.Unix()}
	if o.Lifetime != 0 {
		claims["exp"] = now.Add(o.Lifetime).Unix()
	}
	if o.Issuer != "" {
		claims["iss"] = o.Issuer
	}
	if o.Audience != "" {
		claims["aud"] = o.Audience
	}
	if o.DboID < 0 {
		return nil, errors.New("dbo_id must be an integer from 0")
	}
	if o.DboID != 0 {
		if err := place(claims, names.DboID, o.DboID); err != nil {
			return nil, err
		}
	}
	if o.RowID != "" {
		if err := place(claims, names.RowID, o.RowID); err != nil {
			return nil, err
		}
	}
	if len(o.Extras) > 0 {
		if members, err := parseObject(o.Extras); err != nil {
			return nil, fmt.Errorf("extras: %w", err)
		} else if len(members) > 0 {
			if err := place(claims, names.Extras, o.Extras); err != nil {
				return nil, err
			}
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	// What comes out must read back as what was asked for.
	members, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	if _, err := mapClaims(members, names); err != nil {
		return nil, err
	}
	return payload, nil
}

// place sets a claim, making objects of the parts of a dotted name unless it looks like an address.
func place(claims map[string]any, name string, value any) error {
	parts := strings.Split(name, ".")
	if strings.ContainsAny(name, "/:") {
		parts = []string{name}
	}
	object := claims
	for _, part := range parts[:len(parts)-1] {
		inner, ok := object[part].(map[string]any)
		if !ok {
			if _, taken := object[part]; taken {
				return fmt.Errorf("claim %q: %q is a value already", name, part)
			}
			inner = map[string]any{}
			object[part] = inner
		}
		object = inner
	}
	last := parts[len(parts)-1]
	if _, taken := object[last]; taken {
		return fmt.Errorf("claim %q is set twice", name)
	}
	object[last] = value
	return nil
}

func sign(alg, secret string, payload []byte) (string, error) {
	newHash, ok := hmacHash(alg)
	if !ok {
		return "", fmt.Errorf("algorithm %q: use HS256, HS384, HS512, dir or A256KW", alg)
	}
	if secret == "" {
		return "", fmt.Errorf("%s needs a secret", alg)
	}
	head, err := json.Marshal(map[string]string{"alg": alg, "typ": "JWT"})
	if err != nil {
		return "", fmt.Errorf("encode header: %w", err)
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString(head) + "." + enc.EncodeToString(payload)
	mac := hmac.New(newHash, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + enc.EncodeToString(mac.Sum(nil)), nil
}

func seal(alg, enc, keyText string, payload []byte) (string, error) {
	allowed := contentEncryptions(alg)
	if allowed == nil {
		return "", fmt.Errorf("algorithm %q: use HS256, HS384, HS512, dir or A256KW", alg)
	}
	if enc == "" {
		enc = string(allowed[0])
	}
	known := map[jose.ContentEncryption]bool{}
	for _, e := range allowed {
		known[e] = true
	}
	if !known[jose.ContentEncryption(enc)] {
		return "", fmt.Errorf("encryption %q does not go with %s (%v do)", enc, alg, allowed)
	}
	if keyText == "" {
		return "", fmt.Errorf("%s needs a key", alg)
	}
	key, err := DecodeKey(keyText)
	if err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	encrypter, err := jose.NewEncrypter(jose.ContentEncryption(enc),
		jose.Recipient{Algorithm: jose.KeyAlgorithm(alg), Key: key}, nil)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	sealed, err := encrypter.Encrypt(payload)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	token, err := sealed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	return token, nil
}

// Inspection is what can be read off a token without any key. Nothing in it has been verified.
type Inspection struct {
	Kind      string                     `json:"kind"` // "signed" or "encrypted"
	Bytes     int                        `json:"bytes"`
	Header    map[string]json.RawMessage `json:"header"`
	Claims    map[string]json.RawMessage `json:"claims,omitempty"` // absent when encrypted
	IssuedAt  *time.Time                 `json:"issued_at,omitempty"`
	NotBefore *time.Time                 `json:"not_before,omitempty"`
	Expires   *time.Time                 `json:"expires,omitempty"`
}

// Inspect reads a token without verifying it, for a person to look at. It takes tokens that a Verifier would
// refuse, so as to show why.
func Inspect(token string) (Inspection, error) {
	token = strings.TrimSpace(token)
	if len(token) > MaxTokenBytes {
		return Inspection{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(token), MaxTokenBytes)
	}
	parts := strings.Split(token, ".")
	in := Inspection{Bytes: len(token)}
	switch len(parts) {
	case 3:
		in.Kind = "signed"
	case 5:
		in.Kind = "encrypted"
	default:
		return Inspection{}, fmt.Errorf("%w: neither three parts (signed) nor five (encrypted)", ErrInvalid)
	}
	var err error
	if in.Header, err = readPart(parts[0]); err != nil {
		return Inspection{}, fmt.Errorf("%w: header: %w", ErrInvalid, err)
	}
	if in.Kind == "encrypted" {
		return in, nil
	}
	if in.Claims, err = readPart(parts[1]); err != nil {
		return Inspection{}, fmt.Errorf("%w: claims: %w", ErrInvalid, err)
	}
	for name, field := range map[string]**time.Time{
		"iat": &in.IssuedAt, "nbf": &in.NotBefore, "exp": &in.Expires,
	} {
		if t, err := date(in.Claims, name); err == nil && !t.IsZero() {
			t = t.UTC()
			*field = &t
		}
	}
	return in, nil
}

func readPart(part string) (map[string]json.RawMessage, error) {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, errors.New("not base64url")
	}
	return parseObject(raw)
}
