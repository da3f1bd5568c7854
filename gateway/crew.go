package gateway

import (
	"net"
	"sync"
	"sync/atomic"
)

// crew does handshakes: as many goroutines as there are at once, of which some stay for the next connections. A
// goroutine of its own for each would grow its stack anew every time.
type crew struct {
	most int
	jobs chan net.Conn
	work func(net.Conn)

	busy atomic.Int64
	idle atomic.Int64
	wg   sync.WaitGroup
}

// maxIdleCrew stay for the next connection.
const maxIdleCrew = 64

// do lets a connection be worked on; false when there are too many. One goroutine calls it, and then close.
func (c *crew) do(nc net.Conn) bool {
	if c.busy.Add(1) > int64(c.most) {
		c.busy.Add(-1)
		return false
	}
	select {
	case c.jobs <- nc:
	default:
		c.wg.Go(func() { c.member(nc) })
	}
	return true
}

func (c *crew) member(nc net.Conn) {
	for ok := true; ok; {
		c.work(nc)
		c.busy.Add(-1)
		if c.idle.Add(1) > maxIdleCrew {
			c.idle.Add(-1)
			return
		}
		nc, ok = <-c.jobs
		c.idle.Add(-1)
	}
}

// close waits for what is under way.
func (c *crew) close() {
	close(c.jobs)
	c.wg.Wait()
}
