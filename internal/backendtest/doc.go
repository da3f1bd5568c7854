// Package backendtest tries what back ends use against a real node: atomic batches, the record of comings and goings,
// the examples, and a client generated from the API's own description.
package backendtest
