// Package tlsfile keeps a TLS certificate and its key in step with two files.
//
// Run looks at the files once an interval and compares their content, not their times: a certificate is a few
// kilobytes, and times lie (a copy that preserves them, two changes within one tick, the symlink that
// Kubernetes turns over). A pair that is broken, or half replaced, leaves the old one in force until a look
// finds a whole one.
//
// GetCertificate only loads a pointer; it may be called from any number of goroutines. New reads the files
// once and fails when they are no pair.
package tlsfile
