package tracing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"fanfare/protocol"
)

// threshold is the hash below which a publication is sampled.
func threshold(ratio float64) uint64 {
	switch {
	case ratio >= 1:
		return math.MaxUint64
	case ratio <= 0:
		return 0
	}
	return uint64(ratio * (1 << 63) * 2)
}

// spread is a hash of what names a publication: FNV-1a, with its bits mixed, because ids differ in their last characters.
func spread(server protocol.ServerID, channel protocol.Channel, id string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset) ^ uint64(server)
	for i := range len(channel) {
		h = (h ^ uint64(channel[i])) * prime
	}
	h = (h ^ 0xff) * prime // no byte of a name
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Sample gives the trace of a publication, or "" when it is not sampled: 32 hexadecimal digits, as exemplars have it.
func (t *Tracer) Sample(p *protocol.Publication) string {
	if t.below == 0 || spread(p.Server, p.Channel, p.ID) > t.below {
		return ""
	}
	trace, _ := identify(p)
	return trace
}

// identify gives the trace's number and that of its first span.
func identify(p *protocol.Publication) (trace, root string) {
	sum := sha256.Sum256([]byte(strconv.FormatInt(int64(p.Server), 10) + "\x00" + string(p.Channel) + "\x00" + p.ID))
	if binary.BigEndian.Uint64(sum[:]) == 0 || binary.BigEndian.Uint64(sum[16:]) == 0 {
		sum[0], sum[16] = 1, 1 // nothing but zeros is no number
	}
	return hex.EncodeToString(sum[:16]), hex.EncodeToString(sum[16:24])
}
