package auth

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// contentEncryptions gives what a key algorithm may be combined with. With dir the key is used as it is, so
// only what takes 32 bytes fits.
func contentEncryptions(alg string) []jose.ContentEncryption {
	switch jose.KeyAlgorithm(alg) {
	case jose.DIRECT:
		return []jose.ContentEncryption{jose.A256GCM, jose.A128CBC_HS256}
	case jose.A256KW:
		return []jose.ContentEncryption{jose.A256CBC_HS512, jose.A256GCM, jose.A128CBC_HS256, jose.A128GCM}
	}
	return nil
}

// decrypt opens a compact JWE and gives the claims in it, or in the signed token in it.
func (v *Verifier) decrypt(ctx context.Context, token string, h header) ([]byte, error) {
	if v.jweKey == nil {
		return nil, fmt.Errorf("%w: encrypted, but no encryption key is configured", ErrInvalid)
	}
	allowed := contentEncryptions(h.alg)
	if allowed == nil {
		return nil, fmt.Errorf("%w: algorithm %.16q", ErrInvalid, h.alg)
	}
	if h.zip != "" && h.zip != string(jose.DEFLATE) {
		return nil, fmt.Errorf("%w: compression %.16q", ErrInvalid, h.zip)
	}
	sealed, err := jose.ParseEncryptedCompact(token, []jose.KeyAlgorithm{jose.KeyAlgorithm(h.alg)}, allowed)
	if err != nil {
		return nil, fmt.Errorf("%w: not an encrypted token with an accepted enc", ErrInvalid)
	}
	// Inflates only after the tag was checked, and to 250 kB at most (the token being 16 KiB at most).
	payload, err := sealed.Decrypt(v.jweKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, errCrypto)
	}
	if !strings.EqualFold(h.cty, "JWT") {
		return payload, nil
	}
	inner := string(bytes.TrimSpace(payload))
	if len(inner) > maxClaimsBytes {
		return nil, fmt.Errorf("%w: %d bytes inside", ErrTooLarge, len(inner))
	}
	if err := checkAlphabet(inner); err != nil {
		return nil, fmt.Errorf("inside: %w", err)
	}
	if strings.Count(inner, ".") != 2 {
		return nil, fmt.Errorf("%w: what is inside is not a signed token", ErrInvalid)
	}
	head, _, _ := strings.Cut(inner, ".")
	ih, err := parseHeader(head)
	if err != nil {
		return nil, fmt.Errorf("inside: %w", err)
	}
	if payload, err = v.verify(ctx, inner, ih); err != nil {
		return nil, fmt.Errorf("inside: %w", err)
	}
	return payload, nil
}
