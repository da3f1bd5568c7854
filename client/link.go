package client

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"

	"fanfare/protocol"
)

// outboxMax is how many frames may wait for a connection that takes none. It is more than Options.Pending and a
// join and a leave of every channel come to; a connection that is that far behind is given up.
const outboxMax = 16384

// link is one connection. Its frames go out in the order of push.
type link struct {
	ws     *websocket.Conn
	ctx    context.Context //nolint:containedctx // the life of the connection
	cancel context.CancelFunc

	mu     sync.Mutex
	frames [][]byte
	latest map[string]int // where in frames the presence data of a channel waits
	ready  chan struct{}  // one slot

	renewing bool          // guarded by Client.mu: renew was signalled
	renew    chan struct{} // one slot: come back with a fresh token
}

func (l *link) push(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pushLocked(frame)
}

// pushLatest sends a frame, in the place of an earlier one with the same name that still waits.
func (l *link) pushLatest(name string, frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, waits := l.latest[name]; waits {
		l.frames[at] = frame
		return
	}
	if l.latest == nil {
		l.latest = map[string]int{}
	}
	l.latest[name] = len(l.frames)
	l.pushLocked(frame)
}

func (l *link) pushLocked(frame []byte) {
	if l.frames = append(l.frames, frame); len(l.frames) > outboxMax {
		l.cancel() // ends the reader, and with it the connection
	}
	l.signal()
}

func (l *link) signal() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func (l *link) take() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames := l.frames
	l.frames, l.latest = nil, nil
	return frames
}

// serve runs one connection until it ends and tells how it ended. All its goroutines have ended then too.
func (c *Client) serve(ws *websocket.Conn) error {
	ws.SetReadLimit(c.o.MaxFrame)
	l := &link{ws: ws, ready: make(chan struct{}, 1), renew: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.write(l) })
	wg.Go(func() { c.keepAlive(l) })
	c.up(l)
	err := c.read(l)
	l.cancel()
	_ = ws.CloseNow()
	wg.Wait()
	c.down(err)
	return err
}

func (c *Client) read(l *link) error {
	for {
		kind, b, err := l.ws.Read(l.ctx)
		if err != nil {
			return err
		}
		if kind != websocket.MessageText {
			continue
		}
		f, err := decodeFrame(b)
		if err != nil {
			c.o.Logger.Warn("frame cannot be read", "err", err)
			continue
		}
		c.handle(l, f)
	}
}

// write sends what is pushed. A connection that takes no bytes for PingTimeout is dead.
func (c *Client) write(l *link) {
	for {
		select {
		case <-l.ready:
		case <-l.ctx.Done():
			return
		}
		for _, frame := range l.take() {
			ctx, cancel := context.WithTimeout(l.ctx, c.o.PingTimeout)
			err := l.ws.Write(ctx, websocket.MessageText, frame)
			cancel()
			if err != nil {
				_ = l.ws.CloseNow() // the reader tells why
				return
			}
		}
	}
}

// keepAlive pings, and sends joins again that were not answered or that the server asked to repeat.
func (c *Client) keepAlive(l *link) {
	ping := time.NewTicker(c.o.PingInterval)
	defer ping.Stop()
	joins := time.NewTicker(min(time.Second, c.o.JoinTimeout))
	defer joins.Stop()
	for {
		select {
		case <-ping.C:
			ctx, cancel := context.WithTimeout(l.ctx, c.o.PingTimeout)
			err := l.ws.Ping(ctx)
			cancel()
			if err != nil {
				_ = l.ws.CloseNow()
				return
			}
		case now := <-joins.C:
			c.rejoinDue(l, now)
		case <-l.renew:
			_ = l.ws.Close(reconnectCode, "token expired")
			return
		case <-l.ctx.Done():
			return
		}
	}
}

// up makes the connection current and joins every channel again.
func (c *Client) up(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.cause = l, nil
	for _, ch := range c.order {
		ch.sendJoinLocked(l)
	}
	c.signalLocked()
}

// down ends what was in progress on the connection.
func (c *Client) down(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = nil
	for ref, call := range c.calls {
		delete(c.calls, ref)
		call.done <- answer{err: unknownOutcome(err)}
	}
	for _, ch := range c.order {
		for _, call := range ch.histories {
			call.done <- answer{err: err}
		}
		ch.histories, ch.expect, ch.due = nil, 0, time.Time{}
		if ch.live || ch.cause != "" { // it was joined, perhaps being resumed
			ch.live, ch.cause = false, ""
			ch.pushLocked(item{event: &Disconnected{Err: err}})
		}
	}
	c.signalLocked()
}

// reconnectCode is what the client closes with to come back with a fresh token.
const reconnectCode = websocket.StatusCode(protocol.CloseReconnecting)
