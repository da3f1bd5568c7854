// Package client is the Go client of Fanfare, and of any server that speaks Xano Realtime's Legacy protocol
// with Fanfare's extensions.
//
//	c, err := client.Dial(ctx, "wss://rt.example.com/rt/HASH", client.Options{})
//	ch := c.Channel("chat/1", client.ChannelOptions{History: true, Presence: true})
//	err = ch.Join(ctx)
//	receipt, err := ch.Send(ctx, map[string]string{"text": "hello"})
//	for event, err := range ch.Events(ctx) { … }
//
// # What is promised
//
// Send returns when the server has accepted the message: stored, where the channel has history. Whenever the
// outcome cannot be known (the connection broke, nobody answered) the error is ErrUnknownOutcome, and the
// client does not send again by itself.
//
// A lost connection is dialled again with jittered back-off, honouring Retry-After and close codes; every
// joined channel is joined again and, where it has history, resumed behind the last event that was queued for
// the application: without a hole and without duplicates. Wherever a hole cannot be excluded the application
// gets a *Gap in the place of the hole: after a resume that the server could not prove whole, after a
// reconnection on a channel without history or on a pattern, and when the application was too slow on such a
// channel. No *Gap means that nothing stored is missing. What is never stored cannot be repeated: private
// messages, and events that a back end sends without storing them, are missed while there is no connection.
//
// # Receiving, and what happens at the bound
//
// Each channel has a queue, bounded in events and bytes (Options.QueueEvents, QueueBytes), from which the
// application takes with Next or Events. A full queue never blocks the socket and never drops in silence: the
// client stops queueing for that channel alone, and when the application has emptied three quarters of the
// queue it leaves and resumes the channel behind the last event queued, so that the server sends again what
// was passed over; a channel without history goes on behind a *Gap.
//
// # Goroutines and locks
//
// Dial starts one goroutine for the client; each connection has it as its reader and two more, a writer and a
// keep-alive. Close ends them all and waits. Locks: Client.mu, then queue.mu or link.mu; no I/O happens under either.
// All methods may be called from any goroutine; the events of one channel should be taken by one.
//
// # The WebSocket
//
// It is github.com/coder/websocket and not the library of the gateway: it needs nothing beyond the standard
// library, follows contexts, dials through an http.Client (proxies, TLS, tests in memory), and as a second
// implementation it would notice a mistake that the gateway's library makes on both ends.
package client
