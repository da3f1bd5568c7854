// Package pages serves the files of a built page out of an embedded directory: compressed once, with entity tags, and
// with a Content-Security-Policy on every answer. The demo and the console are such pages.
//
// A handler is made once and may be called from many goroutines; it has none of its own and nothing to close.
package pages
