// Package presence knows who is on which channel, on all gateways.
//
// Every gateway is authoritative for its own sessions and tells the others through KV buckets: one entry for each
// (channel, session), under a key that names the gateway, written when the session joins, changed when its data
// changes, removed when it leaves. Entries are never refreshed. Instead each gateway holds a lease in another
// bucket and sends heartbeats; when these end, the others stop showing its entries, each deciding for its own
// view. Nobody has to act for others to be right.
//
// # Writing
//
// Put and Delete only note what should be in the bucket (roster.go); one goroutine (writer.go) makes it so:
// asynchronously, with a bounded number of writes in flight, one at a time for each entry, gathered over 5 ms when
// they come in storms, and again until it is acknowledged. The roster is bounded by the sessions themselves.
// After a reconnect to the broker what was acknowledged lately is written again, and everything is when the
// bucket was lost or went back.
//
// # The lease
//
// The token under which a gateway writes is its NodeID and a generation. A refresh of the lease is a compare and
// set, so it cannot succeed after the lease has run out; while the lease is not known to stand nothing is written.
// Whoever lost his lease takes the next generation, writes everything again and removes what stood under the old
// token: no entry of a gateway that was declared dead can come to life again.
//
// # Watching
//
// A Watch reports the members of other gateways: first those that are there, then every change, each transition
// exactly once and in order (a member joins once and leaves once, whatever is read twice, comes late or belongs
// to two generations). It subscribes, puts a barrier into the bucket, reads the entries from a state not older
// than the barrier, and applies what is newer by its sequence. The reading is repeated after a reconnect, after a
// change of the stream's leader, when the connection dropped messages and every minute, and only differences are
// told. Up to 1023 entries come out of one consistent state; larger channels are read in bounded pages.
//
// # Failures
//
// A gateway is suspected after 2.5 s without a heartbeat while this one can hear others or itself, asked three
// times, and then its members are hidden: 3 to 4 s after a crash. When it is heard again they are shown again.
// Heartbeats and pings do not go through JetStream, so an election of the broker hides nobody. When its lease
// runs out (20 s) its entries are dropped, and the janitor, the living gateway with the lowest id, removes them
// from the bucket; it also looks for orphans every hour. A lease that ran out because the broker was away, while
// its gateway lives, does not make people leave and come again: its entries are shown until they have been written
// under the next generation.
//
// # Draining
//
// After Handover the entries of sessions that leave stay in the bucket, marked, with a TTL. The other gateways
// show such an entry until the same authenticated user has a new one on the channel (the new join is told first,
// then the leave) or the grace ends. So a rolling restart shows nobody as gone who comes straight back.
//
// # Goroutines, locks, errors
//
// New starts nothing. Run starts everything and returns when all of it has ended. What is known of the others is
// owned by one goroutine (loop.go) and not locked; sinks are called from it and must not block. roster.mu guards
// our own members; nothing is sent and nobody called under it. Broker errors are not returned by Put and Delete:
// they are counted and the write is repeated. Watch and Snapshot return the context's error, or ErrStopped.
package presence
