package settings

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"

	"fanfare/protocol"
)

// NewHash makes a connection hash: 27 URL-safe characters, as Xano's are.
func NewHash() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Rule ids have 14 digits, as Xano's have.
const (
	firstRuleID = 10_000_000_000_000
	ruleIDs     = 90_000_000_000_000
)

// NewRuleID makes the id of a rule.
func NewRuleID() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return ruleID(binary.BigEndian.Uint64(b[:]))
}

// fileRuleIDs makes ids for rules in a file, which may leave them out: they depend on the server and the order of
// the calls' targets only, so that every node and every reading of the file comes to the same ones.
func fileRuleIDs(server protocol.ServerID, target string) func() int64 {
	h := fnv.New64a()
	_ = binary.Write(h, binary.BigEndian, int64(server))
	_, _ = h.Write([]byte(target))
	return func() int64 {
		id := ruleID(h.Sum64())
		_, _ = h.Write([]byte{0}) // for the next try
		return id
	}
}

func ruleID(random uint64) int64 {
	return firstRuleID + int64(random%ruleIDs)
}
