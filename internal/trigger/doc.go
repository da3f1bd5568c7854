// Package trigger asks webhooks whether a join or a message may pass (xano-realtime.md 7, 12.17, 12.18).
//
// # The call
//
// One POST with the inputs of Xano's triggers as JSON:
//
//	{"action":"message","channel":"chat/1",
//	 "client":{"extras":{},"permissions":{"dbo_id":17,"row_id":"3"},"socketId":"…"},
//	 "options":{"authenticated":false,"channel":"chat/1"},
//	 "payload":{"any":"json"}}
//
// client.socketId is ours: Xano does not have it. It lets a back end answer the sender alone, or end its
// socket. options.socketId stands there for private messages only, as sent. The call is signed as in Standard
// Webhooks: webhook-id, webhook-timestamp and, when the trigger has secrets, webhook-signature with one
// "v1,…" per secret.
//
// # The answer
//
// Any 2xx with a JSON body, or with none, which counts as null. Join: false refuses, everything else admits.
// Message: false and null block, everything else replaces the payload. Everything else, redirects included, is
// a failure, and the trigger's on_failure decides: block (the default) or allow, which means unchanged.
// Several triggers of a rule run in order, each with the payload that the one before has left.
//
// # Endpoints
//
// An endpoint is a URL of one realtime server, so that one owner's settings cannot disturb another's. It has a
// bounded number of calls at a time (the others wait, within the trigger's timeout) and a breaker. The breaker
// counts what makes callers wait (no connection, no answer in time, a dropped connection, 502–504), not bad
// answers: those come fast, and a client that knows how to cause one must not stop the others. What is kept of
// endpoints is bounded too; the one unused for longest goes first.
//
// Addresses of the own machine and of private networks are refused when dialling, thus after name resolution,
// because the settings are written by owners of workspaces and not by operators. For the same reason proxies
// of the environment are not used: behind one the address could not be seen.
//
// # Goroutines and errors
//
// A Caller has none of its own apart from those of the standard library's idle connections, which Close ends.
// Join and Message block their caller until the verdict, at most the sum of the triggers' timeouts. All
// methods are safe for concurrent use. Errors wrap a *protocol.Error fit for the client; the rest of the text
// is for the log and never names more of the URL than its host.
package trigger
