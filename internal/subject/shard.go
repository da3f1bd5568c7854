package subject

import (
	"strconv"
	"strings"

	"fanfare/protocol"
)

// Shards is the number of history streams. It is part of the stored form (subjects and offsets): the same with
// the embedded broker and on a cluster, so that offsets survive a migration. It must be a power of two.
const Shards = 8

const shardBits = 3

// Shard tells which history stream keeps a channel: FNV-1a of "<server>/<name>". When the name holds a hash tag,
// only the tag counts instead of the name.
func Shard(server protocol.ServerID, c protocol.Channel) int {
	c = hashTag(c)
	const offset, prime = 2166136261, 16777619
	var number [20]byte
	h := uint32(offset)
	for _, b := range strconv.AppendInt(number[:0], int64(server), 10) {
		h = (h ^ uint32(b)) * prime
	}
	h = (h ^ '/') * prime
	for i := 0; i < len(c); i++ {
		h = (h ^ uint32(c[i])) * prime
	}
	return int(h % Shards)
}

// hashTag is what stands between the first { and the next } behind it, as in Redis Cluster: with it users place
// channels together. The whole name when there is no such pair or nothing in it.
func hashTag(c protocol.Channel) protocol.Channel {
	_, rest, ok := strings.Cut(string(c), "{")
	if tag, _, closed := strings.Cut(rest, "}"); ok && closed && tag != "" {
		return protocol.Channel(tag)
	}
	return c
}

// Offset is the offset of a stored publication.
func Offset(shard int, seq uint64) uint64 {
	if seq == 0 {
		return 0
	}
	return seq<<shardBits | uint64(shard)
}

// SplitOffset is the reverse of Offset.
func SplitOffset(offset uint64) (shard int, seq uint64) {
	return int(offset & (Shards - 1)), offset >> shardBits
}
