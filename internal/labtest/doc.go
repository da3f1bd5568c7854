// Package labtest starts real programs for tests: brokers and gateways from this module, and what others made (a
// Prometheus, a proxy). Everything listens on loopback, ends with the test, and writes its output to a file whose end
// is logged when the test fails. A program that is not there fails the test.
package labtest
