package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
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
	// patience is how long the handshake may take, and patient that its deadline is set.
	patience time.Duration
	patient  bool
	// direct is what tests and benchmarks have in the place of sendNow; nil otherwise.
	direct func([]byte) (int, error)

	mu      sync.Mutex
	backlog net.Buffers // what the kernel did not take yet, in order
	queued  int         // bytes of the backlog that count against the limit
	unsent  int         // all bytes of the backlog, large answers included
	sharing int         // TLS: writers of large answers, whose records do not count
	tail    bool        // the backlog's last element is ours to append to
	drains  bool        // a drain goroutine is running
	// finished: the reader has ended, the drain goroutine frees the descriptor.
	finished bool
	state    connState
	evicted  evictReason
	// blocking: an http.Server uses the connection (TLS), so writes wait for the kernel.
	blocking bool
	room     *sync.Cond // of mu: the backlog got shorter, or the state changed; made by who waits first
	// progress is when a piece of the backlog got out, in Unix milliseconds: a sign of life as good as a pong,
	// which may be stuck behind the same backlog.
	progress atomic.Int64
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

var evictReasons = [...]string{"none", "backlog", "write_timeout", "write_error"} //nolint:gochecknoglobals // a constant table

var (
	errSlowConsumer = errors.New("slow consumer: backlog is full")
	errConnClosing  = errors.New("connection is closing")
)

// closeTryAgain is the close frame of an evicted socket: the stock client comes back from it.
var closeTryAgain = closeFrame(1013, "slow consumer") //nolint:gochecknoglobals // a constant

// transport is the conn as TLS sees it: records instead of frames.
type transport conn

func (t *transport) Read(b []byte) (int, error) { return t.Conn.Read(b) }
func (t *transport) Close() error               { (*conn)(t).shut(); return nil }
func (t *transport) Write(b []byte) (int, error) {
	c := (*conn)(t)
	c.mu.Lock()
	if c.blocking && !c.drains {
		c.mu.Unlock()
		return c.Conn.Write(b)
	}
	defer c.mu.Unlock()
	if err := c.sendLocked(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetWriteDeadline is what tls.Conn.Close calls, and would end a backlog that is being written.
func (t *transport) SetWriteDeadline(time.Time) error { return nil }

// greeter is the conn while its first request is read: mostly that is there already, and no deadline needs to be set.
type greeter conn

func (g *greeter) Read(b []byte) (int, error) {
	c := (*conn)(g)
	if !c.patient {
		if c.fd >= 0 {
			if n := receiveNow(c.fd, b); n > 0 {
				return n, nil
			}
		}
		c.wait()
	}
	return c.Read(b)
}

// wait sets the handshake's deadline, waitNoMore ends it.
func (c *conn) wait() {
	if c.patience > 0 {
		c.patient = true
		_ = c.Conn.SetDeadline(time.Now().Add(c.patience))
	}
}

func (c *conn) waitNoMore() {
	if c.patient {
		c.patient = false
		_ = c.Conn.SetDeadline(time.Time{})
	}
}

// SetDeadline is for gws, whose handshake sets one: our writes do not wait.
func (c *conn) SetDeadline(time.Time) error { return nil }

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
// It never blocks and never keeps b. Much at once is written in parts, so that no more than the limit is kept.
func (c *conn) write(b []byte) error {
	for most := min(c.limits.backlogBytes, drainPiece); len(b) > most; {
		n := cutFrames(b, most)
		if err := c.writePart(b[:n]); err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	}
	return c.writePart(b)
}

func (c *conn) writePart(b []byte) error {
	c.mu.Lock()
	if c.state != connOpen {
		c.mu.Unlock()
		return errConnClosing
	}
	if c.drains && c.queued+len(b) > c.limits.backlogBytes {
		c.limits.metrics.backlogHighWater(c.queued)
		c.evictLocked(evictBacklog)
		if c.tls == nil {
			c.enqueueLocked(closeTryAgain)
		}
		c.mu.Unlock()
		if c.tls != nil {
			_, _ = c.tls.Write(closeTryAgain)
		}
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
// many sockets. It does not count against the backlog's limit, only against its time; awaitRoom bounds how many
// of them wait.
func (c *conn) writeShared(parts ...[]byte) error {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if small := total <= min(16<<10, c.limits.backlogBytes); small || c.tls != nil {
		b := make([]byte, 0, total)
		for _, p := range parts {
			b = append(b, p...)
		}
		if small {
			return c.write(b)
		}
		return c.writeLargeTLS(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != connOpen {
		return errConnClosing
	}
	c.backlog = append(c.backlog, parts...)
	c.unsent += total
	c.tail = false
	c.drainLocked()
	return nil
}

// writeLargeTLS lets the records of one large answer pass the limit.
func (c *conn) writeLargeTLS(b []byte) error {
	c.mu.Lock()
	if c.state != connOpen {
		c.mu.Unlock()
		return errConnClosing
	}
	c.sharing++
	c.mu.Unlock()
	_, err := c.tls.Write(b)
	c.mu.Lock()
	c.sharing--
	c.mu.Unlock()
	return err
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
	var err error
	switch {
	case c.direct != nil:
		n, err = c.direct(b)
	case c.fd >= 0:
		n, err = sendNow(c.fd, b)
	}
	return c.sentLocked(b, n, err)
}

// sentLocked keeps what the kernel did not take of b, or ends the conn.
func (c *conn) sentLocked(b []byte, n int, err error) error {
	if err != nil {
		c.evictLocked(evictError)
		return err
	}
	if n < len(b) {
		c.enqueueLocked(b[n:])
		c.drainLocked()
	}
	return nil
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
	c.wakeLocked()
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
	c.wakeLocked()
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

// setBlocking is for a connection that passes through an http.Server.
func (c *conn) setBlocking(on bool) {
	c.mu.Lock()
	c.blocking = on
	c.mu.Unlock()
}

// discard reads what a peer still sends that is not listened to any more, for a moment: closing a connection with
// unread bytes resets it, and the peer would not see the close frame.
func (c *conn) discard() {
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.limits.linger))
	_, _ = io.Copy(io.Discard, readerOnly{c.Conn})
}

// readerOnly keeps io.Copy from taking a shortcut around the deadline.
type readerOnly struct{ io.Reader }

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
	c.wakeLocked()
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
