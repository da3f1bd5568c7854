package presence

import (
	"fmt"
	"strconv"
	"strings"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// A presence key is <server>.<channel>.=.<gw>.<session> (package subject), where gw is a NodeID with its
// generation. The same key stands behind a bucket's prefix and, republished, behind livePrefix.
const (
	livePrefix  = "fanfare.p."
	leaseStream = "KV_" + subject.BucketGateways
	leasePrefix = "$KV." + subject.BucketGateways + "."
	leaseLive   = "fanfare.gw.lease." // a verb of no gateway: its token is longer
	beatPrefix  = "fanfare.gw.hb."
	barrierKey  = "_b." // + gw; not a server number, so never an entry
	end         = ".=." // between channel and gateway
)

func stream(shard int) string       { return "KV_" + subject.BucketPresence(shard) }
func bucketPrefix(shard int) string { return "$KV." + subject.BucketPresence(shard) + "." }
func pingSubject(gw string) string  { return subject.Gateway(protocol.NodeID(gw), "ping") }

// shardOf spreads channels over the buckets.
func shardOf(t protocol.Topic, shards int) int {
	return subject.Shard(t.Server, t.Channel) % shards
}

// head is what the keys of all members of one channel begin with, up to the gateway. A pattern is taken
// literally.
func head(t protocol.Topic) string {
	return strconv.FormatInt(int64(t.Server), 10) + "." + subject.Encode(string(t.Channel)) + end
}

// key is a parsed presence key.
type key struct {
	server  protocol.ServerID
	channel protocol.Channel
	gw      string
	session protocol.SessionID
}

// parseKey reads a whole key.
func parseKey(k string) (key, error) {
	e, err := subject.DecodePresenceKey(k)
	if err != nil {
		return key{}, fmt.Errorf("%w: %w", errKey, err)
	}
	if e.Server < 1 || e.Channel == "" || !plain(string(e.Session)) {
		return key{}, errKey
	}
	if _, _, err := parseGateway(string(e.Node)); err != nil {
		return key{}, err
	}
	return key{server: e.Server, channel: e.Channel, gw: string(e.Node), session: e.Session}, nil
}

// parseTail reads what follows the end of the channel: <gw>.<session>.
func parseTail(tail string) (gw string, session protocol.SessionID, err error) {
	gw, token, ok := strings.Cut(tail, ".")
	if !ok || !plain(token) {
		return "", "", errKey
	}
	if _, _, err := parseGateway(gw); err != nil {
		return "", "", err
	}
	return gw, protocol.SessionID(token), nil
}

// gateway is the token of one generation of a node.
func gateway(n protocol.NodeID, generation uint64) string {
	return string(n) + "-" + strconv.FormatUint(generation, 10)
}

// parseGateway takes a gateway token apart.
func parseGateway(gw string) (protocol.NodeID, uint64, error) {
	if len(gw) < protocol.NodeIDLen+2 || gw[protocol.NodeIDLen] != '-' || !plain(gw[:protocol.NodeIDLen]) {
		return "", 0, errKey
	}
	digits := gw[protocol.NodeIDLen+1:]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
		return "", 0, errKey
	}
	return protocol.NodeID(gw[:protocol.NodeIDLen]), n, nil
}

// plain tells whether s is made of URL-safe characters only, and is not empty.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}
