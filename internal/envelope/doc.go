// Package envelope is the form in which a publication travels through NATS: a short binary head and, behind it,
// the frame exactly as clients will get it. Gateways read the head and share the frame's bytes; nobody parses
// JSON on the way.
//
// Integers are unsigned varints unless said otherwise:
//
//	version (1 byte)
//	kind (1 byte), audience kind (1 byte)
//	version 2 only: number (8 bytes, big-endian)
//	server, accepted (8 bytes, big-endian Unix nanoseconds), ttl in milliseconds, splice
//	audience dbo_id (signed varint)
//	lengths of: origin, channel, id, sender, audience row_id, audience session
//	those texts
//	the frame: the rest
//
// What is stored is version 1: the stream gives it its place. What is not stored is version 2: the number counts what its
// origin sent, so that whoever gets it can tell what comes behind something later.
//
// It stands apart from package broker because the history reads the same bytes and must not know the broker.
package envelope
