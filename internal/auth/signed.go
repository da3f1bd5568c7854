package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// hmacHash gives the hash of an HMAC algorithm.
func hmacHash(alg string) (func() hash.Hash, bool) {
	switch alg {
	case "HS256":
		return sha256.New, true
	case "HS384":
		return sha512.New384, true
	case "HS512":
		return sha512.New, true
	}
	return nil, false
}

// verify checks a compact JWS and gives its payload. The algorithm alone decides which kind of key is used.
func (v *Verifier) verify(ctx context.Context, token string, h header) ([]byte, error) {
	if h.zip != "" || h.enc != "" {
		return nil, fmt.Errorf("%w: zip and enc belong to encrypted tokens", ErrInvalid)
	}
	if newHash, ok := hmacHash(h.alg); ok {
		if v.secret == nil {
			return nil, fmt.Errorf("%w: %s, but no secret is configured", ErrInvalid, h.alg)
		}
		return verifyHMAC(token, newHash, v.secret)
	}
	alg := jose.SignatureAlgorithm(h.alg)
	if !slices.Contains(asymmetric(), alg) {
		return nil, fmt.Errorf("%w: algorithm %.16q", ErrInvalid, h.alg)
	}
	if v.keys == nil {
		return nil, fmt.Errorf("%w: %s, but no key server is configured", ErrInvalid, h.alg)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{alg})
	if err != nil {
		return nil, fmt.Errorf("%w: not a signed token", ErrInvalid)
	}
	return v.keys.verify(ctx, signed, alg, h.kid)
}

// verifyHMAC is done by hand because the library refuses secrets shorter than the hash, which are common.
func verifyHMAC(token string, newHash func() hash.Hash, secret []byte) ([]byte, error) {
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.Strict().DecodeString(token[dot+1:])
	if err != nil {
		return nil, fmt.Errorf("%w: signature is not base64url", ErrInvalid)
	}
	mac := hmac.New(newHash, secret)
	mac.Write([]byte(token[:dot]))
	if !hmac.Equal(mac.Sum(nil), signature) {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, errCrypto)
	}
	_, body, _ := strings.Cut(token[:dot], ".")
	payload, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("%w: payload is not base64url", ErrInvalid)
	}
	return payload, nil
}
