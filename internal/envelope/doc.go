// Package envelope is the form in which a publication travels through NATS: a short binary head and, behind it,
// the frame exactly as clients will get it. Gateways read the head and share the frame's bytes; nobody parses
// JSON on the way.
//
// Version 1, integers as unsigned varints unless said otherwise:
//
//	version (1 byte = 1)
//	kind (1 byte), audience kind (1 byte)
//	server, accepted (8 bytes, big-endian Unix nanoseconds), ttl in milliseconds, splice
//	audience dbo_id (signed varint)
//	lengths of: origin, channel, id, sender, audience row_id, audience session
//	those texts
//	the frame: the rest
//
// It stands apart from package broker because the history reads the same bytes and must not know the broker.
package envelope
