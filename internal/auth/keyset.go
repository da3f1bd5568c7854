package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys       = 256
	maxCandidates = 8 // keys tried for one token
	minRSABits    = 2048
	maxRSABits    = 8192
)

func asymmetric() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

// keySet is one answer of the key server. It is never changed.
type keySet struct {
	keys    []jose.JSONWebKey
	fetched time.Time
}

// parseKeySet reads a JWKS. A key we cannot use is left out, so that a new kind of key beside ours does no
// harm; a set without any usable key is an error, so that a broken answer does not replace good keys.
func parseKeySet(data []byte) (set *keySet, skipped int, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, 0, errors.New("not a JSON Web Key Set")
	}
	if len(doc.Keys) > maxKeys {
		return nil, 0, fmt.Errorf("%d keys, at most %d", len(doc.Keys), maxKeys)
	}
	set = &keySet{}
	for _, raw := range doc.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !usable(&key) {
			skipped++
			continue
		}
		key.Certificates, key.CertificatesURL = nil, nil
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return nil, skipped, errors.New("no usable public key in the set")
	}
	return set, skipped, nil
}

// usable: a public key for signatures, strong enough and not costly to verify with.
func usable(key *jose.JSONWebKey) bool {
	if !key.IsPublic() || !key.Valid() || (key.Use != "" && key.Use != "sig") {
		return false
	}
	if k, ok := key.Key.(*rsa.PublicKey); ok {
		return k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits
	}
	return true
}

// fits tells whether the key may verify that algorithm.
func fits(key *jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(alg) {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{
			jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		}, alg)
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return alg == jose.ES256
		case 384:
			return alg == jose.ES384
		case 521:
			return alg == jose.ES512
		}
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// candidates are the keys to try. named tells that they bear the very kid of the token: then there is no
// point in asking the key server when they do not verify it.
func (s *keySet) candidates(kid string, alg jose.SignatureAlgorithm) (keys []jose.JSONWebKey, named bool) {
	if s == nil {
		return nil, false
	}
	if kid != "" {
		for i := range s.keys {
			if s.keys[i].KeyID == kid && fits(&s.keys[i], alg) && len(keys) < maxCandidates {
				keys = append(keys, s.keys[i])
			}
		}
		if len(keys) > 0 {
			return keys, true
		}
	}
	for i := range s.keys {
		if (kid == "" || s.keys[i].KeyID == "") && fits(&s.keys[i], alg) && len(keys) < maxCandidates {
			keys = append(keys, s.keys[i])
		}
	}
	return keys, false
}

func tryKeys(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, bool) {
	for i := range keys {
		if payload, err := signed.Verify(keys[i].Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}
