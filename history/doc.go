// Package history keeps stored publications in JetStream and reads them.
package history
