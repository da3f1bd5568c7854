package gateway

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"fanfare/internal/uring"
)

// rings are the io_uring rings through which flushes write: one system call for many members instead of one for
// each. There are at most as many as processors, since a flush keeps one busy; who finds none free, and every
// socket with TLS or a backlog, takes the plain way through conn.write.
type rings struct {
	on atomic.Bool // the kernel has io_uring and it is not switched off
	// least is ringMembers, or less in tests.
	least int

	mu     sync.Mutex
	free   []*ringWriter
	made   int
	closed bool
}

const (
	// ringMembers is from how many members on a ring is worth its while.
	ringMembers = 4
	// ringBatch is how many sends go into one call. Their conns stay locked meanwhile, below a millisecond.
	ringBatch = 256
)

// ringWriter writes one batch at a time.
type ringWriter struct {
	ring  *uring.Ring
	sends []uring.Send
	conns []*conn // locked; conns[i] is the one of sends[i]
	later []*subscription
}

// useRings looks whether the kernel has io_uring; from then on flushes use it.
func (g *Gateway) useRings() {
	if !g.opts.IOURing {
		return
	}
	if err := uring.Probe(); err != nil {
		g.log.Info("io_uring is not available; each socket is written to by itself", "err", err)
		return
	}
	g.rings.on.Store(true)
	g.metrics.ioURing.Set(1)
}

// stop lets every flush take the plain way.
func (r *rings) stop() { r.on.Store(false) }

// take gives a writer, or nil when the plain way has to do.
func (r *rings) take(members int) *ringWriter {
	if members < r.least || !r.on.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.free) - 1; last >= 0 {
		w := r.free[last]
		r.free = r.free[:last]
		return w
	}
	if r.closed || r.made >= runtime.GOMAXPROCS(0) {
		return nil
	}
	ring, err := uring.Open(ringBatch)
	if err != nil {
		return nil // out of descriptors, most likely
	}
	r.made++
	return &ringWriter{ring: ring, sends: make([]uring.Send, 0, ring.Cap()), conns: make([]*conn, 0, ring.Cap())}
}

// give takes a writer back; broken: it must not be used again.
func (r *rings) give(w *ringWriter, broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || broken {
		r.made--
		_ = w.ring.Close()
		return
	}
	r.free = append(r.free, w)
}

func (r *rings) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, w := range r.free {
		r.made--
		_ = w.ring.Close()
	}
	r.free = nil
}

// write sends a batch to its targets. It never waits for a conn while it has others locked: one that somebody else
// is writing to gets its frames afterwards, the plain way.
func (w *ringWriter) write(b *batch, number uint64, targets []*subscription) (sent int, err error) {
	for _, m := range targets {
		from, begin, end, spans := m.from(number), 0, 0, 0
		b.spans(m, from, func(i, j int) {
			begin, end = i, j
			spans++
		})
		if spans == 0 {
			continue
		}
		c := m.session.conn
		if spans > 1 || err != nil || m.hold.Load() != nil || !c.claim() {
			w.later = append(w.later, m)
			continue
		}
		w.sends = append(w.sends, uring.Send{FD: c.fd, Begin: begin, End: end})
		w.conns = append(w.conns, c)
		sent++
		if len(w.sends) == cap(w.sends) {
			err = w.submit(b.buf)
		}
	}
	if failed := w.submit(b.buf); err == nil {
		err = failed
	}
	for _, m := range w.later {
		b.visible(m, m.from(number), m.send)
	}
	clear(w.later)
	w.later = w.later[:0]
	return sent, err
}

// submit hands over what was gathered and unlocks the conns.
func (w *ringWriter) submit(buf []byte) error {
	err := w.ring.Send(buf, w.sends)
	for i := range w.sends {
		s, c := &w.sends[i], w.conns[i]
		frames := buf[s.Begin:s.End]
		if s.Errno == uring.ErrNotSent {
			_ = c.sendLocked(frames)
		} else {
			_ = c.sentLocked(frames, s.N, passing(s.Errno))
		}
		c.mu.Unlock()
		w.conns[i] = nil
	}
	w.sends, w.conns = w.sends[:0], w.conns[:0]
	return err
}

// claim locks the conn for one send of somebody else's, unless it has to go through conn.write.
func (c *conn) claim() bool {
	if c.tls != nil || c.direct != nil || !c.mu.TryLock() {
		return false
	}
	if c.state != connOpen || c.drains || c.fd < 0 {
		c.mu.Unlock()
		return false
	}
	return true
}

// passing gives nil for what only says that the kernel does not take anything now.
func passing(errno syscall.Errno) error {
	switch errno {
	case 0, syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS:
		return nil
	}
	return errno
}
