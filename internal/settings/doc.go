// Package settings keeps realtime servers and their rules, and tells when they change.
//
// There are two sources. Normally it is the KV bucket fanfare_settings, one key a server (server.<id>), watched by
// every node; with a settings file it is that file, read again when it changes, and nothing can be written.
//
// Current gives the settings in force, an immutable *policy.Book, from any goroutine without a lock. Load reads them
// once, before a node serves; Run then follows changes until its context ends and waits for what it started. The
// callbacks of OnChange run one after the other in Run's goroutine, each with the book it saw last and the one in
// force now: several quick changes may come as one, none is lost.
//
// What is invalid never comes into force. Writes are checked before they are stored; a stored value that somebody
// edited by hand, or a file, that cannot be used leaves the previous one in force, and is logged and counted; a node
// that starts afterwards finds the previous one in the bucket's history. That is also so for a field this version
// does not know: to guess that it does not matter could let somebody in.
//
// Writes are compare-and-set on the key's revision. Across keys there is no such thing, so two nodes can store one
// hash for two servers at the same moment: then the server with the lower number has it, everywhere, and the other
// one keeps what it had.
//
// Errors are policy.ErrNotFound, ErrConflict, ErrReadOnly and *policy.FieldError, wrapped; everything else means
// that the source cannot be reached.
package settings
