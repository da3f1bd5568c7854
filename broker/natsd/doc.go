// Package natsd runs the NATS server that is linked into this binary: Embedded without a port for a gateway that has
// its broker inside, Server with ports of its own for `fanfare broker`.
//
// It is apart from package broker, which is a client of NATS wherever that runs, so that only the command links the
// server in (docs/decisions/0031-natsd.md). Nothing starts in a constructor; Start and Run own what they start, and
// Close and the end of Run wait for it.
package natsd
