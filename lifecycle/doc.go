// Package lifecycle keeps the record of who came and went, for back ends: connects and disconnects, joins and
// leaves with their reason, occupied and vacated channels. It is off unless an operator asks for it.
//
// # What is stored where
//
// One stream, FANFARE_LIFECYCLE. A message is a batch of events of one realtime server by one writer, under
// fanfare.l.<server>.<writer>; a reader of fanfare.l.<server>.> has one order for all. A gateway writes under its
// NodeID, what follows from all gateways' events together (occupied, vacated) stands under the writer "=". Every
// message is stored by compare and set on the sequence of its writer's last one. So a batch whose acknowledgement
// was lost is stored once, however late it is repeated, and a writer that was declared dead cannot go on as if
// nothing had happened.
//
// # Exactly once
//
// When a gateway has had no lease for a while, the keeper (the gateway that is the janitor of presence) reads what
// stands under its name, and writes there the leaves and disconnects that are missing, with the reason
// gateway_lost, and a mark that this was the end. Two keepers at once do no harm: one of them loses the compare and
// set. A gateway that lives after all loses it too; it tells again, under its name, who is there.
//
// The keeper also derives occupied and vacated: it folds the events in their order and writes a change where what
// has been said of a channel differs from its members. A new keeper reads the stream from its start.
//
// # The right picture
//
// Whoever reads from the start, or goes on from a cursor that has not expired, and keeps a set of (session, channel)
// by join and leave, ends with the members as they are. Three things make that so. Memberships are told again
// (repeated) twice in the time events are kept, so the oldest of what is kept still shows everybody. The stream
// keeps events twice as long as promised, so that a dead gateway's can be ended after any outage shorter than that.
// And what could not be written is said: the event lost names a gateway whose members are to be forgotten; who is
// there is told again right after it.
//
// # Goroutines, locks, errors
//
// New starts nothing; Run owns the writer, the keeper and, on the keeper's gateway, one goroutine for each webhook. The calls of the gateway (Recorder) only
// append to a bounded queue under one lock and never wait; beyond the bound the queue of that server is given up,
// counted, and ends in a lost event. Read asks the stream directly and holds no lock.
package lifecycle
