// Package ops serves what operators and their tools look at: metrics, health, readiness and, behind a switch,
// profiles. It has a listener of its own, so that none of it is reachable where clients are, and so that it
// answers while the public listener drains.
//
// New builds and starts nothing. Run listens, serves until its context ends, and returns when every request
// has ended or was cut off; let it end last. A Probe runs on the goroutine of the request that asked for
// readiness and must return when its context ends.
package ops
