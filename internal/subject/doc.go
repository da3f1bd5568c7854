// Package subject maps channels to NATS subjects and back, and names the streams and buckets.
//
// A channel name becomes tokens, one a segment: bytes of [A-Za-z0-9_-] stand for themselves, every other byte
// is written =HH (upper-case hex), the empty segment is "=-". The mapping is injective and reversible, and what
// it gives holds only [-=.A-Za-z0-9_]: never a wildcard, so that a client cannot subscribe or publish beyond
// the channel it names. A lone "=" never comes out of it; it ends a channel where more tokens follow (presence
// keys). Names are not normalised: they are compared byte for byte, as clients do.
//
// A pattern such as chat/* becomes a filter ending in ">". The filter also matches the channel "chat/" (an empty
// last segment), which the pattern does not cover, and for presence the base itself: check with
// protocol.Channel.Covers after decoding.
//
//	fanfare.h.<shard>.<server>.<channel>                     stored publications, into stream FANFARE_HISTORY_<shard>
//	fanfare.o.<server>.<channel>                             what gateways listen to: republished and core-only
//	<server>.<channel>.=.<node>.<session>                    key of a presence entry
//	fanfare.p.<server>.<channel>.=.<node>.<session>          its changes
//	fanfare.gw.<node>.<verb>, fanfare.gw.all.<verb>          gateway to gateway
//	$KV.fanfare_…                                            buckets
//
// Offsets: a stored publication's offset is its stream sequence times Shards plus its shard. So an offset tells
// which stream it belongs to, which is what lets a pattern's history, merged from all shards, be paged.
//
// Everything here is pure and safe for concurrent use.
package subject
