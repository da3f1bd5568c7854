// Package gateway ends the WebSockets: it reads frames, decides with the rules, keeps the hub of channels and
// their members, and writes batches to sockets. It knows no NATS; what it needs from the broker, history and
// presence stands in the small interfaces of ports.go.
//
// # How data flows
//
// In: gws reads a frame on the socket's reader goroutine and hands it to a worker (worker.go), which decodes
// it (protocol.Decode), checks the rate and the rule, runs triggers and publishes. The reader waits for the
// worker, so that the frames of one socket are processed strictly in order, and its own stack stays small.
//
// Out: Broker > topic.Deliver > the topic's batch of encoded WebSocket frames > flush: one non-blocking write
// of the same bytes to every member, where there is io_uring many of them in one system call (rings.go) > what the
// kernel refuses goes to that conn's bounded backlog. Nothing is parsed on the way out.
//
// # Goroutines
//
// One per socket: its reader. Everything else belongs to the Gateway and is waited for by Close: workers (as
// many as frames are being processed), one accept loop per listener, the keep-alive sweep, flushes of large or
// hot topics, and one drain goroutine per conn while it has a backlog.
//
// # Locks, in this order
//
//	hub shard > topic (channel) > topic (pattern) > session > hold > conn
//
// No lock but conn's and hold's is held over a write to a socket, and that write never blocks. No lock is held over
// a call into a port, but for Presence.Put and Delete, which only queue, and Settings.Current. topic.storing is
// held while a feed is switched; nobody waits for it. A flush through a ring holds many conns at once, in no order:
// it takes only those it gets without waiting.
package gateway
