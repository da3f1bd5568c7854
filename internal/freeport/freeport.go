// Package freeport finds ports for servers that must know theirs before they listen, and keep it over restarts: the
// processes of tests and of the lab for plots.
//
// They are below those that the kernel gives to whoever asks for any (from 32768 on Linux, 49152 on macOS): one of
// those, closed again, may be somebody's before its server listens, or while it restarts. A client that dials it
// meanwhile may even get it as its own end and be connected with itself. Seen as a broker that could not start, and so as
// a cluster that never had a leader: the first election needs all nodes.
package freeport

import (
	"fmt"
	"net"
	"os"
	"sync"
)

const (
	first = 10100 // browsers refuse 10080
	count = 5900
	// block keeps processes that run at the same time apart, whose ids are seldom far from each other.
	block = 64
)

var ports = struct { //nolint:gochecknoglobals // ports are the process's
	sync.Mutex

	given int
}{}

// Addr gives an address of loopback, as host:port, that nobody listens on. No other call in this process gives it
// again before all were given.
func Addr() (string, error) {
	var last error
	for range count {
		addr := fmt.Sprint("127.0.0.1:", first+next())
		l, err := net.Listen("tcp", addr) //nolint:noctx // takes no time
		if err == nil {
			return addr, l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("no port is free: %w", last)
}

func next() int {
	ports.Lock()
	defer ports.Unlock()
	ports.given++
	return (os.Getpid()*block + ports.given - 1) % count
}
