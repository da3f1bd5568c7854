// Package history keeps stored publications in JetStream and reads them: pages for clients, what a subscriber
// missed, and what the broker's live path lost (it implements broker.Backfill without knowing it).
//
// # What is stored where
//
// Channels are spread over subject.Shards streams FANFARE_HISTORY_<shard>, one subject a channel, at most 1000
// messages each (nats.md 5). The stream republishes what it stores to the live subjects. A message's body is an
// envelope (internal/envelope). There is one class of retention for all rules: a rule's history N says how many
// of the newest are shown (Range.Window), and Trim removes older ones lazily, so that N can change at any time
// without touching a stream. Private messages are never stored; the caller sees to that.
//
// An offset is the stream's sequence and the shard in one number (subject.Offset). It grows within a channel.
// An epoch belongs to a shard; it changes when the stream was created anew or its sequence went backwards, which
// is noticed against a record in the bucket fanfare_meta.
//
// # How reading works
//
// Direct reads may be answered by any replica, also by one that lags, and run inside the server's read loop of
// the connection: they have connections of their own and are bounded to 1 MiB and 256 messages each, 32 at a
// time. Their cost is the span of the stream they cover, so "the latest n" first finds where to begin by asking
// how many messages there are from a sequence on.
//
// Order of a channel is that of its stream. A pattern's history is merged from all shards by the time of
// storage, ties by offset; it costs at most Limit+1 messages from each of the shards. An offset given as its
// Before or After counts as the moment at which that message was stored.
//
// # What is proved
//
// Resume says whole only when it read the message at the given offset itself, in the same answer as those behind
// it, or when nothing at all was removed from the shard since then. History is only ever removed from its old
// end (trim, purge, age), with one exception that it cannot see: a rule whose history_ttl was made shorter while
// the subscriber was away. A pattern has no single offset; it is never whole.
//
// # Goroutines, locks, errors
//
// Run trims in the background; everything else works on the caller's goroutine and may be called from any.
// Locks are held per shard only, never over I/O but for Refresh, which is single-flight per shard. Waits end
// with the context, or after 5 s when it has no deadline.
package history
