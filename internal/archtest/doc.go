// Package archtest holds no code, only tests that keep the shape of the repository: who imports whom, one
// package comment each, files that read in one go, calls that have no place here, and no traces of the machine
// somebody worked on. A new package or exception goes into rules_test.go, with its reason.
package archtest
