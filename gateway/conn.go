package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// conn is the net.Conn under gws. Everything that goes to a socket passes through it: the frames of gws
// (handshake, pong, close) and our batches, so that they share one order and one bounded backlog.
//
// A write never blocks: what the kernel does not take at once is kept in the backlog and written by a drain
// goroutine that exists only until the backlog is empty. A backlog over its limit, or one that makes no
// progress for the write timeout, ends the socket.
//
// With TLS the order is conn.Write > tls.Conn > transport (the same struct) > kernel.
type conn struct {
	net.Conn // the TCP connection; Read and Close are ours
	limits   *connLimits
	tls      *tls.Conn // nil without TLS
	greeting []byte    // header lines to put into the handshake's answer, the first Write; then nil
	fd       int       // -1: only net.Conn.Write is usable, from the drain goroutine

	mu      sync.Mutex
	backlog net.Buffers // what the kernel did not take yet, in order
	queued  int         // bytes of the backlog that count against the limit
	tail    bool        // the backlog's last element is ours to append to
	drains  bool        // a drain goroutine is running
	// finished: the reader has ended, the drain goroutine frees the descriptor.
	finished bool
	state    connState
	evicted  evictReason
}

// connLimits are shared by all conns of a gateway.
type connLimits struct {
	backlogBytes int
	writeTimeout time.Duration
	linger       time.Duration // how long a closing socket may take to answer the close frame
	drains       *sync.WaitGroup
	metrics      *metrics
}

type connState uint8

const (
	connOpen    connState = iota
	connClosing           // a close frame was queued; nothing more goes out, the peer's answer is awaited
	connClosed
)

type evictReason uint8

const (
	evictNone evictReason = iota
	evictBacklog
	evictTimeout
	evictError
)

var evictReasons = [...]string{"none", "backlog", "write_timeout", "write_error"}

var (
	errSlowConsumer = errors.New("slow consumer: backlog is full")
	errConnClosing  = errors.New("connection is closing")
)

// closeTryAgain is the close frame of an evicted socket: the stock client comes back from it.
var closeTryAgain = closeFrame(1013, "slow consumer")

// transport is the conn as TLS sees it: records instead of frames.
type transport conn

func (t *transport) Read(b []byte) (int, error) { return t.Conn.Read(b) }
func (t *transport) Close() error               { (*conn)(t).shut(); return nil }
func (t *transport) Write(b []byte) (int, error) {
	c := (*conn)(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.sendLocked(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *conn) Read(b []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Read(b)
	}
	return c.Conn.Read(b)
}

// Write is for gws. It accepts b whole or refuses it.
func (c *conn) Write(b []byte) (int, error) {
	n := len(b)
	if c.greeting != nil && n > 2 { // the handshake's answer: header lines, then an empty one
		b = append(append(append(make([]byte, 0, n+len(c.greeting)), b[:n-2]...), c.greeting...), '\r', '\n')
		c.greeting = nil
	}
	if err := c.write(b); err != nil {
		return 0, err
	}
	return n, nil
}

// write sends whole WebSocket frames, or keeps them, or refuses them with errSlowConsumer or errConnClosing.
// It never blocks and never keeps b.
func (c *conn) write(b []byte) error {
	c.mu.Lock()
	if c.state != connOpen {
		c.mu.Unlock()
		return errConnClosing
	}
	if c.drains && c.queued+len(b) > c.limits.backlogBytes {
		c.evictLocked(evictBacklog)
		if c.tls == nil {
			c.enqueueLocked(closeTryAgain)
		}
		c.mu.Unlock()
		return errSlowConsumer
	}
	if c.tls == nil {
		err := c.sendLocked(b)
		c.mu.Unlock()
		return err
	}
	c.mu.Unlock()
	_, err := c.tls.Write(b)
	return err
}

// writeShared sends one large frame given in parts that nobody changes any more: a presence list shared by
// many sockets. It does not count against the backlog's limit, only against its time.
func (c *conn) writeShared(parts ...[]byte) error {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if c.tls != nil || total <= 16<<10 {
		b := make([]byte, 0, total)
		for _, p := range parts {
			b = append(b, p...)
		}
		if total <= c.limits.backlogBytes {
			return c.write(b)
		}
		_, err := c.tls.Write(b)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != connOpen {
		return errConnClosing
	}
	c.backlog = append(c.backlog, parts...)
	c.tail = false
	c.drainLocked()
	return nil
}

// sendLocked writes b with one non-blocking system call; what the kernel does not take is copied.
func (c *conn) sendLocked(b []byte) error {
	if c.state == connClosed {
		return net.ErrClosed
	}
	if c.drains {
		c.enqueueLocked(b)
		return nil
	}
	n := 0
	if c.fd >= 0 {
		var err error
		if n, err = sendNow(c.fd, b); err != nil {
			c.evictLocked(evictError)
			return err
		}
	}
	if n < len(b) {
		c.enqueueLocked(b[n:])
		c.drainLocked()
	}
	return nil
}

// enqueueLocked copies b to the end of the backlog.
func (c *conn) enqueueLocked(b []byte) {
	c.queued += len(b)
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
			c.drains, c.backlog, c.tail, c.queued = false, nil, false, 0
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
			_, err = piece.WriteTo(c.Conn)
			out = rest
		}
		c.mu.Lock()
		c.queued -= counted
		if err != nil {
			c.drains, c.backlog, c.queued = false, nil, 0
			c.evictLocked(evictTimeout)
			c.closeLocked()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// cutBuffers takes up to about n bytes off the front.
func cutBuffers(b net.Buffers, n int) (piece, rest net.Buffers) {
	for i, p := range b {
		if n -= len(p); n < 0 {
			cut := len(p) + n
			piece = append(append(piece, b[:i]...), p[:cut:cut])
			rest = append(append(rest, p[cut:]), b[i+1:]...)
			return piece, rest
		}
	}
	return b, nil
}

// evictLocked marks the conn as ended by us. The reader notices when its read fails.
func (c *conn) evictLocked(why evictReason) {
	if c.evicted == evictNone && c.state == connOpen {
		c.evicted = why
		c.limits.metrics.evictions.WithLabelValues(evictReasons[why]).Inc()
	}
	if c.state == connOpen {
		c.state = connClosing
	}
	// Whatever the peer does, the reader gives up soon.
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.limits.writeTimeout + c.limits.linger))
	if why == evictError {
		c.closeLocked()
	}
}

// Close is for gws, after it wrote a close frame: the write side is shut once the backlog is out, and the
// peer has a moment to answer. The descriptor is freed by finish, which the owner of the reader calls.
func (c *conn) Close() error {
	if c.tls != nil {
		return c.tls.Close() // writes close_notify, then shuts the transport
	}
	c.shut()
	return nil
}

func (c *conn) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == connClosed {
		return
	}
	c.state = connClosing
	if !c.drains {
		c.shutLocked()
	}
}

func (c *conn) shutLocked() {
	if c.state == connClosed {
		return
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.limits.linger))
}

// finish ends the conn for good once its reader has ended. A backlog that still drains behind a close frame
// ends it instead, within the write timeout.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drains && c.state == connClosing {
		c.finished = true
		return
	}
	c.closeLocked()
}

// drop ends the conn at once, without a close frame.
func (c *conn) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
}

func (c *conn) closeLocked() {
	if c.state == connClosed && c.fd == -1 {
		return
	}
	c.state, c.fd = connClosed, -1
	_ = c.Conn.Close()
}

// pending is how many bytes wait in the backlog.
func (c *conn) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued
}

func (c *conn) evictReason() evictReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evicted
}
