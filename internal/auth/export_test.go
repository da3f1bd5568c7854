package auth

import (
	"encoding/json"

	"fanfare/protocol"
)

// MapClaims reads an identity from claims that nothing was verified of.
func MapClaims(payload []byte, names Claims) (protocol.Identity, error) {
	members, err := parseObject(payload)
	if err != nil {
		return protocol.Identity{}, err
	}
	return mapClaims(members, names.withDefaults())
}

// ParseObject is the strict reader.
func ParseObject(data []byte) (map[string]json.RawMessage, error) { return parseObject(data) }

// Known is how many keys the verifier holds.
func (v *Verifier) Known() int { return len(v.keys.known()) }

// The bounds that tests go up to.
const (
	MaxDepth   = maxDepth
	MaxWaiters = maxWaiters
)

// Freshness is how long keys are good for.
var Freshness = freshness

// NoDowngrade is the redirect policy.
var NoDowngrade = noDowngrade
