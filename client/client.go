package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"fanfare/protocol"
)

// closeWait is how long Close waits for the server's answer to the closing handshake.
const closeWait = time.Second

// Client is one socket to a realtime server, dialled again whenever it breaks. Close must be called.
type Client struct {
	url  string
	o    Options
	http *http.Client
	// base names the client's refs; they must not repeat those of another client behind the same socket id.
	base string
	// pending is a semaphore of messages and requests that wait for their answer.
	pending chan struct{}

	ctx    context.Context //nolint:containedctx // the life of the client, which outlives the call of Dial
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	mu       sync.Mutex
	link     *link // nil while disconnected
	changed  chan struct{}
	closing  bool
	err      error // why it ended
	cause    *protocol.Error
	channels map[string]*Channel
	order    []*Channel // of joining
	calls    map[string]*call
	refs     uint64
}

// call is a request that waits for its answer.
type call struct {
	channel *Channel
	done    chan answer // one slot
}

type answer struct {
	receipt  Receipt
	messages []*Message
	more     bool
	err      error
}

// Receipt tells that the server accepted a message.
type Receipt struct {
	ID     string
	Offset uint64 // 0 where the channel has no history
}

// Dial connects to a socket address such as wss://host/rt/HASH. A server that answers busy (503, 429) is tried
// again until ctx ends; any other failure of this first attempt is returned. ctx bounds the dialling only.
func Dial(ctx context.Context, url string, o Options) (*Client, error) {
	o = o.withDefaults()
	c := &Client{
		url: url, o: o, http: o.HTTPClient, base: rand.Text()[:8], pending: make(chan struct{}, o.Pending),
		done: make(chan struct{}), changed: make(chan struct{}),
		channels: map[string]*Channel{}, calls: map[string]*call{},
	}
	if c.http == nil {
		// No idle connections: nothing may be left behind by a refused upgrade.
		c.http = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: o.HandshakeTimeout}}
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ws, err := c.dialFirst(ctx)
	if err != nil {
		c.cancel()
		return nil, err
	}
	go c.run(ws) //nolint:contextcheck // the client outlives the call
	return c, nil
}

func (c *Client) dialFirst(ctx context.Context) (*websocket.Conn, error) {
	for attempt := 0; ; attempt++ {
		ws, err := c.dial(ctx)
		if err == nil {
			return ws, nil
		}
		refused, ok := errors.AsType[*HandshakeError](err)
		if !ok || !refused.busy() {
			return nil, err
		}
		if !c.pause(ctx, attempt, refused.RetryAfter) {
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// Channel gives a channel or a pattern (chat/*) to join.
func (c *Client) Channel(name string, o ChannelOptions) *Channel {
	ch := &Channel{c: c, name: name, o: o, q: newQueue(c.o.QueueEvents, c.o.QueueBytes)}
	if o.From != nil {
		ch.position, ch.stored, ch.delivered = *o.From, true, *o.From
	}
	return ch
}

// Done is closed when the client has ended: by Close, or because the server said so for good.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err tells why the client has ended; nil while it lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Connected tells whether the socket is open at the moment.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil
}

// Close leaves all channels, closes the socket and waits for the client's goroutines.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	l := c.link
	c.mu.Unlock()
	if l != nil {
		// The read in progress ends with the server's answer, or when the wait is over.
		timer := time.AfterFunc(closeWait, c.cancel)
		_ = l.ws.Close(websocket.StatusNormalClosure, "")
		timer.Stop()
	}
	c.cancel()
	<-c.done
	return nil
}

// acquire takes a place among the pending requests.
func (c *Client) acquire(ctx context.Context) error {
	select {
	case c.pending <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.Err()
	}
}

func (c *Client) release() { <-c.pending }

// signalLocked wakes those who wait for a change of state.
func (c *Client) signalLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}
