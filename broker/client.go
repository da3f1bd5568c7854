package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// InboxPrefix begins the subjects of all answers, so that permissions can name them.
const InboxPrefix = "_INBOX_fanfare"

// Settings of the connections. A broken link is noticed after pingInterval times maxPings.
const (
	liveConns    = 2
	readConns    = 2
	pingInterval = 2 * time.Second
	maxPings     = 2
	dialTimeout  = 2 * time.Second
	writeTimeout = 5 * time.Second
	drainTimeout = 3 * time.Second
)

// ConnectOptions say which broker and as whom.
type ConnectOptions struct {
	URLs      []string                   // external broker
	InProcess nats.InProcessConnProvider // or the one in this process
	Creds     string                     // file: a credentials file, or the seed of an nkey alone
	User      string                     // name to sign in with, where there is a password
	Password  string                     // empty = none, or that in URLs
	TLSCert   string                     // file
	TLSKey    string                     // file
	TLSCA     string                     // file
	Name      string                     // of the connections, for the broker's monitoring
	Logger    *slog.Logger
}

// Client holds the connections of a gateway: one to publish, a few for live publications, a few for reads, one
// for everything else. They reconnect for ever and buffer nothing while they are cut. The methods may be called
// from any goroutine; the goroutines are those of nats.go and end in Close.
type Client struct {
	log    *slog.Logger
	conns  []*nats.Conn // publish, control, then the live ones, then those for reads; grows in Connect only, under mu
	closed sync.WaitGroup

	mu        sync.Mutex // guards what follows
	down      map[*nats.Conn]bool
	since     time.Time
	lastErr   error
	ready     chan struct{} // closed when all are up for the first time
	everReady bool
	reconnect []func()
	slow      []func(*nats.Subscription)
	denied    chan struct{} // closed at the first thing that the broker does not permit
	denial    error
}

const (
	connPublish = iota
	connControl
	connLive
	connRead  = connLive + liveConns
	connCount = connRead + readConns
)

// Connect opens the connections and waits until all are up or ctx ends.
func Connect(ctx context.Context, o ConnectOptions) (*Client, error) {
	if len(o.URLs) == 0 && o.InProcess == nil {
		return nil, errors.New("connect to broker: neither addresses nor an embedded broker")
	}
	c := &Client{log: orDiscard(o.Logger), down: map[*nats.Conn]bool{}, since: time.Now(), ready: make(chan struct{}), denied: make(chan struct{})}
	for i := range connCount {
		opts, err := c.options(o, i)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.closed.Add(1)
		nc, err := nats.Connect(strings.Join(o.URLs, ","), opts...)
		if err != nil {
			c.closed.Done()
			c.Close()
			return nil, fmt.Errorf("connect to broker: %w", err)
		}
		c.mu.Lock()
		c.conns = append(c.conns, nc)
		c.mu.Unlock()
		if !nc.IsConnected() {
			c.mark(nc, false, nc.LastError())
		}
	}
	for _, nc := range c.conns { // those that came up while there were not all of them
		if nc.IsConnected() {
			c.mark(nc, true, nil)
		}
	}
	select {
	case <-c.ready:
		return c, nil
	case <-ctx.Done():
		c.mu.Lock()
		last := c.lastErr
		c.mu.Unlock()
		c.Close()
		if last == nil {
			last = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to broker: %w", last)
	}
}

func (c *Client) options(o ConnectOptions, i int) ([]nats.Option, error) {
	name := [...]string{connPublish: "publish", connControl: "control", connLive: "live", connLive + 1: "live", connRead: "read", connRead + 1: "read"}[i]
	opts := []nats.Option{
		nats.Name(strings.TrimSpace(o.Name + " " + name)),
		nats.CustomInboxPrefix(InboxPrefix),
		nats.SkipSubjectValidation(),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(400*time.Millisecond, 900*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.Timeout(dialTimeout),
		nats.FlusherTimeout(writeTimeout),
		nats.DrainTimeout(drainTimeout),
		nats.ConnectHandler(func(nc *nats.Conn) { c.mark(nc, true, nil) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.mark(nc, true, nil) }),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) { c.mark(nc, false, err) }),
		nats.ReconnectErrHandler(func(nc *nats.Conn, err error) { c.mark(nc, false, err) }),
		nats.ErrorHandler(c.failed),
		nats.ClosedHandler(func(*nats.Conn) { c.closed.Done() }),
	}
	if o.InProcess != nil {
		return append(opts, nats.InProcessServer(o.InProcess)), nil
	}
	if o.Creds != "" {
		credentials, err := credentialsOption(o.Creds)
		if err != nil {
			return nil, err
		}
		opts = append(opts, credentials)
	}
	if o.Password != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.TLSCA != "" {
		opts = append(opts, nats.RootCAs(o.TLSCA))
	}
	switch {
	case o.TLSCert != "" && o.TLSKey != "":
		opts = append(opts, nats.ClientCert(o.TLSCert, o.TLSKey))
	case o.TLSCert != "" || o.TLSKey != "":
		return nil, errors.New("connect to broker: a client certificate needs both certificate and key")
	}
	return opts, nil
}

// credentialsOption signs in with a credentials file (JWT and seed), or with a file that holds a seed alone.
func credentialsOption(file string) (nats.Option, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: credentials: %w", err)
	}
	if bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(file), nil // read again at each connection: it may be renewed
	}
	option, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %s is neither a credentials file nor the seed of an nkey", file)
	}
	return option, nil
}

// mark notes that a connection is up or down.
func (c *Client) mark(nc *nats.Conn, up bool, err error) {
	c.mu.Lock()
	before := len(c.down) == 0 && c.everReady
	if up {
		delete(c.down, nc)
	} else {
		c.down[nc] = true
		if err != nil {
			c.lastErr = err
		}
	}
	all := len(c.down) == 0 && len(c.conns) == connCount
	first := all && !c.everReady
	if first {
		c.everReady = true
		close(c.ready)
	}
	if all != before {
		c.since = time.Now()
	}
	var hooks []func()
	if all && !before && !first {
		hooks = append(hooks, c.reconnect...)
	}
	c.mu.Unlock()
	switch {
	case before && !all && err != nil:
		c.log.Warn("broker connection lost", "err", err)
	case len(hooks) > 0:
		c.log.Info("broker connection is back")
	}
	for _, f := range hooks {
		f()
	}
}

// failed gets what nats.go reports asynchronously.
func (c *Client) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	c.mu.Lock()
	c.lastErr = err
	denied, level := errors.Is(err, nats.ErrPermissionViolation), slog.LevelWarn
	if denied && c.denial == nil {
		c.denial = fmt.Errorf("the broker does not permit what a gateway needs: %w", err)
		close(c.denied)
		level = slog.LevelError
	} else if denied {
		level = slog.LevelDebug // it was said once, and it may come with every message
	}
	var hooks []func(*nats.Subscription)
	if errors.Is(err, nats.ErrSlowConsumer) {
		hooks = append(hooks, c.slow...)
	}
	c.mu.Unlock()
	if hooks == nil {
		c.log.Log(context.Background(), level, "broker connection", "err", err) //nolint:forbidigo // nats.go hands none in
	}
	for _, f := range hooks {
		f(sub)
	}
}

// Publish is the connection for publications.
func (c *Client) Publish() *nats.Conn { return c.conns[connPublish] }

// Control is the connection for presence, settings and requests.
func (c *Client) Control() *nats.Conn { return c.conns[connControl] }

// Live are the connections for live publications.
func (c *Client) Live() []*nats.Conn { return c.conns[connLive:connRead] }

// Reads are the connections for reading history.
func (c *Client) Reads() []*nats.Conn { return c.conns[connRead:] }

// Connected tells whether all connections are up, and since when that is so or not so.
func (c *Client) Connected() (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.down) == 0 && c.everReady, c.since
}

// OnReconnect calls f, on a goroutine of nats.go, whenever connections were lost and all are back. f must not
// block. Hooks stay for the Client's life.
func (c *Client) OnReconnect(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reconnect = append(c.reconnect, f)
}

// onSlow calls f when nats.go had to drop messages of a subscription.
func (c *Client) onSlow(f func(*nats.Subscription)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = append(c.slow, f)
}

// Denied is closed when the broker has refused something for lack of permission; Denial says what it was first.
// NATS does not answer such a request, so whoever waits for one would learn nothing.
func (c *Client) Denied() <-chan struct{} { return c.denied }

// Denial is the first thing that the broker did not permit, or nil.
func (c *Client) Denial() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.denial
}

// Close drains the connections and waits for them. It may be called more than once.
func (c *Client) Close() {
	for _, nc := range c.conns {
		if err := nc.Drain(); err != nil {
			nc.Close() // cut: there is nothing to drain
		}
	}
	c.closed.Wait()
}
