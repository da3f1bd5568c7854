// Package bench is the load generator behind `fanfare bench`. It opens sockets against a running server, sends on a
// schedule that does not wait for answers, and counts what comes back: latencies, losses, duplicates, order.
//
// It is made to weigh little beside the server it measures. A connection is one goroutine without a read buffer of
// its own; frames are told apart by their first bytes and messages by a mark that is found without parsing JSON.
//
// # Latency
//
// A message carries the time at which it was due. Its latency runs from then to the read that brought it, so a
// sender that is held up, by the server or by this process, counts as latency and hides nothing (no coordinated
// omission). Sender and receiver are one process with one clock. How late messages left is told besides.
//
// # Goroutines
//
// One per connection, which ends with the connection; those of Run, which waits for all of them.
//
// # Bounds
//
// Options.check refuses what would need more descriptors than the process may open, or run for more than an hour.
package bench
