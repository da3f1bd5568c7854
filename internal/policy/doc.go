// Package policy decides who may do what on a channel.
//
// It is pure: no I/O, no clock, no goroutines, no logging. It imports protocol only. Every exported value is
// immutable once Compile or NewBook returned it and may be used from any goroutine; a change of settings makes
// new values.
//
// A Rule is one line of the settings (a channel or, with Wildcard, everything below a base). A Server is one
// realtime server with its rules compiled for lookup; a Book is all servers. Lookup and decisions allocate
// nothing and take no locks, so they may stand in the path of every frame.
//
// Decisions fail closed: a nil *Rule refuses everything, a Server that was not compiled or is disabled has no
// rules, and an operation that no flag speaks about is refused. Refusals are the shared *protocol.Error values;
// they must not be changed by who gets them.
//
// Where the sources leave a choice, the decisions of xano-realtime.md 12 are taken: an exact rule before a
// nested one, the longest base first, a disabled rule as if absent (12.2); `chat/*` does not cover `chat` (12.3)
// and spans slashes (12.4); the sender chooses the audience, or Server.Strict for the literal reading (12.5).
// Names are compared byte for byte. A bare `*` is an ordinary name.
package policy
