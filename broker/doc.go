// Package broker connects a gateway to NATS: the embedded server, the connections, which topics this node listens
// to, publishing, and the proof and repair of losses.
//
// # Parts
//
//   - Embedded is a NATS server with JetStream inside this process, without a port. One process a data directory.
//   - Client is a gateway's connections: one to publish, two for live publications, two for reads of history, one
//     for everything else. They reconnect for ever and buffer nothing while cut.
//   - Broker carries publications (Attach, Publish) and requests between gateways (Handle, Request).
//
// # Publications without history
//
// Publish hands them to this node's feeds at once, those of patterns that cover the channel too, and then to the
// other gateways through NATS; what comes back of one's own is skipped by its origin. Alone on an embedded broker
// nothing is sent. They are delivered at most once, in each sender's order, and need no leader: elections do not
// touch them. Each carries its number among those of its gateway; one that comes behind a higher number, from a
// broker that froze and goes on, is dropped (marks.go). While the connection is lost they wait for at most 3 s;
// after that Publish answers protocol.ErrUnavailable and delivers nothing.
//
// # Publications with history
//
// They go to the channel's stream and come back through its republishing, to every gateway in the stream's
// order. Acknowledged means stored. An attempt that is not acknowledged within 2 s, or meets a stream without a
// leader, is made again with the same message id until the deadline (12 s); JetStream stores an id once in 30 s.
// A stream that does not acknowledge gets at most 8 attempts at a time. Lanes: of the publications of one session
// one is under way at a time, so they are stored in order even when attempts fail. The id counts within its
// channel.
//
// # Losses
//
// Republishing is best effort. Each republished message carries the sequence of its channel's previous one
// (gap.go); a hole is read from the stream before what follows is delivered (repair.go). The newest message of
// every channel is checked 1 s and 3 s after attaching, after a reconnect, after nats.go dropped messages, after
// an election, and every 15–30 s (sweep.go), because the lost one may have been the last. A replica that lags is
// asked again, then its leader decides. What the stream no longer has is told by Sink.Gap.
//
// # Goroutines
//
// Run owns them all and waits for them: one dispatcher a live connection (a topic always on the same one), one
// that publishes and handles acknowledgements, up to 64 repairs, the sweeper and its checks, up to 64 request
// handlers. done of Publish is called on one of them for stored publications. nats.go's goroutines end with
// Client.Close; the server's with Embedded.Close. Order at the end: Broker.Flush, end of Run, Client.Close,
// Embedded.Close.
//
// # Locks, in this order
//
//	Feed.setup > Feed.mu > whatever the Sink locks
//	Feed.mu > sweeper.mu, repairs.mu
//
// Feed.mu is held during stored deliveries, which is what makes them come one at a time; Feed.setup during
// requests to the broker, and Detach does not take it. interest's stripes and sender.mu are held over nothing.
//
// # Bounds
//
// Publications under way: 8192 and 64 MiB, beyond that protocol.ErrOverloaded. Messages waiting for a dispatcher:
// 65536 a connection, beyond that nats.go drops them and the channels are checked. Publications held behind a
// hole: 512 a channel, beyond that they are read from the stream. Channels followed below a pattern: 65536, beyond
// that a Gap. Requests waiting: 1024.
package broker
