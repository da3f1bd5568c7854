package subject

import (
	"fmt"
	"strconv"
	"strings"

	"fanfare/protocol"
)

// Names of streams and buckets, and fixed subjects.
const (
	// LiveAll is where the history streams republish to.
	LiveAll = prefixLive + ">"
	// PresenceAll is where the presence buckets republish to.
	PresenceAll = prefixPresence + ">"

	BucketMeta     = "fanfare_meta"
	BucketSettings = "fanfare_settings"
	BucketGateways = "fanfare_gateways"

	streamPrefix = "FANFARE_HISTORY_"
)

// Stream names the history stream of a shard.
func Stream(shard int) string { return streamPrefix + strconv.Itoa(shard) }

// ShardOf is the reverse of Stream; ok is false for other streams.
func ShardOf(stream string) (shard int, ok bool) {
	number, found := strings.CutPrefix(stream, streamPrefix)
	n, err := strconv.Atoi(number)
	if !found || err != nil || n < 0 || n >= Shards || strconv.Itoa(n) != number {
		return 0, false
	}
	return n, true
}

// StreamSubjects is what the history stream of a shard takes in.
func StreamSubjects(shard int) string { return prefixStored + strconv.Itoa(shard) + ".>" }

// Stored is where publications of a channel are stored. Nothing is ever published to a pattern: it would be
// taken literally here.
func Stored(server protocol.ServerID, c protocol.Channel) string {
	b := make([]byte, 0, len(prefixStored)+len(c)+32)
	b = append(b, prefixStored...)
	b = strconv.AppendInt(b, int64(Shard(server, c)), 10)
	b = append(b, '.')
	return string(appendName(b, server, c))
}

// StoredIn is the subject of a channel, or the filter of a pattern, in one shard.
func StoredIn(shard int, server protocol.ServerID, c protocol.Channel) string {
	b := make([]byte, 0, len(prefixStored)+len(c)+32)
	b = append(b, prefixStored...)
	b = strconv.AppendInt(b, int64(shard), 10)
	b = append(b, '.')
	return string(appendTopic(b, server, c))
}

// StoredServer is the filter for everything of one realtime server in one shard.
func StoredServer(shard int, server protocol.ServerID) string {
	return fmt.Sprintf("%s%d.%d.>", prefixStored, shard, server)
}

// DecodeStored gives the channel of a stored publication's subject.
func DecodeStored(s string) (protocol.ServerID, protocol.Channel, error) {
	rest, ok := strings.CutPrefix(s, prefixStored)
	if !ok {
		return 0, "", fmt.Errorf("%w: no history subject", ErrSubject)
	}
	if _, rest, ok = strings.Cut(rest, "."); !ok {
		return 0, "", fmt.Errorf("%w: no shard", ErrSubject)
	}
	return decodeTopic(rest)
}

// Live is where gateways listen for a topic.
func Live(t protocol.Topic) string {
	b := make([]byte, 0, len(prefixLive)+len(t.Channel)+32)
	return string(appendTopic(append(b, prefixLive...), t.Server, t.Channel))
}

// DecodeLive gives the channel of a live subject.
func DecodeLive(s string) (protocol.ServerID, protocol.Channel, error) {
	rest, ok := strings.CutPrefix(s, prefixLive)
	if !ok {
		return 0, "", fmt.Errorf("%w: no live subject", ErrSubject)
	}
	return decodeTopic(rest)
}

func decodeTopic(s string) (protocol.ServerID, protocol.Channel, error) {
	server, tokens, err := cutServer(s)
	if err != nil {
		return 0, "", err
	}
	name, err := Decode(tokens)
	if err != nil {
		return 0, "", err
	}
	return server, protocol.Channel(name), nil
}

// BucketPresence names a presence bucket.
func BucketPresence(shard int) string { return "fanfare_presence_" + strconv.Itoa(shard) }

// PresenceKey is the key of a presence entry in its bucket. A pattern is taken literally: its own members.
func PresenceKey(server protocol.ServerID, c protocol.Channel, node protocol.NodeID, session protocol.SessionID) string {
	b := make([]byte, 0, len(c)+len(session)+40)
	b = appendName(b, server, c)
	b = append(b, ".=."...)
	b = append(b, node...)
	b = append(b, '.')
	return string(append(b, session...))
}

// PresenceKeys is the filter for all keys of a topic. That of a pattern also matches keys of the pattern's base.
func PresenceKeys(t protocol.Topic) string {
	b := appendTopic(make([]byte, 0, len(t.Channel)+32), t.Server, t.Channel)
	if !t.Channel.IsPattern() {
		b = append(b, ".=.>"...)
	}
	return string(b)
}

// PresenceKeysOf is the filter for all keys of one gateway, for channels of exactly the given number of
// segments: filters cannot say "any number of tokens" before the end.
func PresenceKeysOf(node protocol.NodeID, segments int) string {
	return strings.Repeat("*.", segments+1) + "=." + string(node) + ".>"
}

// Presence is where changes of a topic's presence entries come.
func Presence(t protocol.Topic) string { return prefixPresence + PresenceKeys(t) }

// PresenceEntry is a decoded presence key.
type PresenceEntry struct {
	Server  protocol.ServerID
	Channel protocol.Channel
	Node    protocol.NodeID
	Session protocol.SessionID
}

// DecodePresenceKey is the reverse of PresenceKey.
func DecodePresenceKey(key string) (PresenceEntry, error) {
	server, rest, err := cutServer(key)
	if err != nil {
		return PresenceEntry{}, err
	}
	tokens, tail, ok := strings.Cut(rest, "."+terminator+".")
	if !ok {
		return PresenceEntry{}, fmt.Errorf("%w: no presence key", ErrSubject)
	}
	name, err := Decode(tokens)
	if err != nil {
		return PresenceEntry{}, err
	}
	node, session, ok := strings.Cut(tail, ".")
	if !ok || node == "" || session == "" || strings.Contains(session, ".") {
		return PresenceEntry{}, fmt.Errorf("%w: no session", ErrSubject)
	}
	return PresenceEntry{Server: server, Channel: protocol.Channel(name), Node: protocol.NodeID(node), Session: protocol.SessionID(session)}, nil
}

// DecodePresence reads the subject of a presence change.
func DecodePresence(s string) (PresenceEntry, error) {
	key, ok := strings.CutPrefix(s, prefixPresence)
	if !ok {
		return PresenceEntry{}, fmt.Errorf("%w: no presence subject", ErrSubject)
	}
	return DecodePresenceKey(key)
}

// Gateway is the subject of a request to one gateway.
func Gateway(node protocol.NodeID, verb string) string {
	return "fanfare.gw." + string(node) + "." + verb
}

// AllGateways is the subject of a request to every gateway. Its token is shorter than a NodeID.
func AllGateways(verb string) string { return "fanfare.gw.all." + verb }

// Heartbeat is where a gateway says that it lives.
func Heartbeat(node protocol.NodeID) string { return "fanfare.gw.hb." + string(node) }
