// Package api is the HTTP API of design.md 2.3: settings under /api:meta, the back ends' API under /api/v1, and its
// own description, /api/openapi.yaml.
//
// It knows no sockets, no broker and no store: what it needs of them it declares as Settings, Backend and
// Lifecycle. It checks who asks, the form of every parameter and body, and the rules that a rule of the settings
// decides (is there a channel, does it keep history); the backend does the rest.
//
// New starts nothing; an API is an http.Handler that may be used from any goroutine and owns none. Requests that
// wait (lifecycle) end when their client goes away or after Drain.
//
// Every answer is JSON (the description is YAML), errors are {"code","message"}; see errors.go for the statuses.
// Bodies are bounded to 1 MiB, lists are paged, and a page is bounded too. Nothing here logs a body, a key or a
// token.
package api
