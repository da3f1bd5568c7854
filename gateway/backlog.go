package gateway

import (
	"net"
	"sync"
	"time"
)

// The backlog of a conn: what the kernel did not take at once, and the goroutine that writes it.

// enqueueLocked copies b to the end of the backlog.
func (c *conn) enqueueLocked(b []byte) {
	c.unsent += len(b)
	if c.sharing == 0 {
		c.queued += len(b)
	}
	if last := len(c.backlog) - 1; c.tail && last >= 0 && cap(c.backlog[last])-len(c.backlog[last]) >= len(b) {
		c.backlog[last] = append(c.backlog[last], b...)
		return
	}
	c.backlog = append(c.backlog, append(make([]byte, 0, max(len(b), 4<<10)), b...))
	c.tail = true
}

func (c *conn) drainLocked() {
	if c.drains {
		return
	}
	c.drains = true
	c.limits.drains.Add(1)
	c.limits.metrics.backlogs.Inc()
	go c.drain()
}

// drainPiece is how many bytes must get out within one write timeout while a backlog drains.
const drainPiece = 256 << 10

// drain writes the backlog until it is empty.
func (c *conn) drain() {
	defer c.limits.drains.Done()
	defer c.limits.metrics.backlogs.Dec()
	for {
		c.mu.Lock()
		if len(c.backlog) == 0 || c.state == connClosed {
			c.drains, c.backlog, c.tail, c.queued, c.unsent = false, nil, false, 0, 0
			c.wakeLocked()
			switch {
			case c.finished:
				c.closeLocked()
			case c.state == connClosing:
				c.shutLocked()
			}
			c.mu.Unlock()
			return
		}
		out := c.backlog
		c.backlog, c.tail = nil, false
		counted := c.queued
		c.mu.Unlock()
		c.limits.metrics.backlogHighWater(counted)
		var err error
		for len(out) > 0 && err == nil {
			piece, rest := cutBuffers(out, drainPiece)
			_ = c.Conn.SetWriteDeadline(time.Now().Add(c.limits.writeTimeout))
			var n int64
			if n, err = piece.WriteTo(c.Conn); n >= drainPiece { // less may be in the kernel's buffer only
				c.progress.Store(time.Now().UnixMilli())
			}
			out = rest
			c.mu.Lock()
			c.unsent -= int(n)
			c.wakeLocked()
			c.mu.Unlock()
		}
		c.mu.Lock()
		if err != nil { // queued stays: it says what was lost
			c.drains, c.backlog, c.unsent = false, nil, 0
			c.evictLocked(evictTimeout)
			c.closeLocked()
			c.mu.Unlock()
			return
		}
		c.queued -= counted
		c.mu.Unlock()
	}
}

// cutBuffers takes up to n bytes off the front. b is used up: rest is a part of it.
func cutBuffers(b net.Buffers, n int) (piece, rest net.Buffers) {
	for i, p := range b {
		if n -= len(p); n < 0 {
			cut := len(p) + n
			piece = append(append(make(net.Buffers, 0, i+1), b[:i]...), p[:cut:cut])
			clear(b[:i])
			b[i] = p[cut:]
			return piece, b[i:]
		}
	}
	return b, nil
}

// awaitRoom holds up the reader of a socket that does not take the answers it asked for, until less than the
// backlog's limit of them waits.
func (c *conn) awaitRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state == connOpen && c.drains && c.unsent > c.limits.backlogBytes {
		if c.room == nil {
			c.room = sync.NewCond(&c.mu)
		}
		c.room.Wait()
	}
}

func (c *conn) wakeLocked() {
	if c.room != nil {
		c.room.Broadcast()
	}
}
