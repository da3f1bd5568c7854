package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// stable is how long a connection must live for the back-off to begin anew: a server that accepts and closes
// at once must not be dialled at full speed.
const stable = 10 * time.Second

// run serves one connection after the other.
func (c *Client) run(ws *websocket.Conn) {
	var end error
	attempt := 0
	for {
		began := time.Now()
		err := c.serve(ws)
		if end = c.ended(err); end != nil {
			break
		}
		if time.Since(began) >= stable {
			attempt = 0
		}
		c.o.Logger.Info("connection lost", "err", err)
		if ws, attempt = c.redial(attempt); ws == nil {
			end = ErrClosed
			break
		}
		c.o.Logger.Info("connection is back", "attempts", attempt)
	}
	c.finish(end)
}

// ended tells why the client must not dial again; nil = it must.
func (c *Client) ended(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return ErrClosed
	}
	if closed, ok := final(err); ok {
		closed.Cause = c.cause
		return closed
	}
	return nil
}

// redial dials until it succeeds; nil when the client is being closed.
func (c *Client) redial(attempt int) (*websocket.Conn, int) {
	var retryAfter time.Duration
	for {
		if !c.pause(c.ctx, attempt, retryAfter) {
			return nil, attempt
		}
		attempt++
		ws, err := c.dial(c.ctx)
		if err == nil {
			if c.isClosing() {
				_ = ws.CloseNow()
				return nil, attempt
			}
			return ws, attempt
		}
		c.o.Logger.Info("dialling failed", "err", err, "attempt", attempt)
		retryAfter = 0
		if refused, ok := errors.AsType[*HandshakeError](err); ok {
			retryAfter = refused.RetryAfter
		}
	}
}

func (c *Client) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// pause waits for the back-off; false when ctx or the client ended first.
func (c *Client) pause(ctx context.Context, attempt int, retryAfter time.Duration) bool {
	timer := time.NewTimer(backoff(c.o.BackoffMin, c.o.BackoffMax, attempt, retryAfter))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return false
}

// backoff gives the pause before an attempt: doubling, with up to one half taken off at random; never less
// than the server asked for, and then with up to a quarter added so that not all come back at once.
func backoff(least, most time.Duration, attempt int, retryAfter time.Duration) time.Duration {
	d := most
	if attempt < 30 && least<<attempt < most && least<<attempt > 0 {
		d = least << attempt
	}
	d -= rand.N(d/2 + 1)
	if retryAfter > d {
		d = retryAfter + rand.N(retryAfter/4+1)
	}
	return d
}

// dial makes one attempt to connect.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.HandshakeTimeout)
	defer cancel()
	o := &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.o.Header.Clone()}
	if c.o.Token != nil {
		token, err := c.o.Token(ctx)
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		if token != "" {
			o.Subprotocols = []string{token}
		}
	}
	ws, response, err := websocket.Dial(ctx, c.url, o) //nolint:bodyclose // the library closes it
	if err == nil {
		return ws, nil
	}
	refused := &HandshakeError{Err: err}
	if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
		refused.Status = response.StatusCode
		refused.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	}
	return nil, refused
}

// retryAfter reads the header: seconds or a date; at most an hour is believed.
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(seconds, 3600)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}

// finish tells everybody that the client has ended.
func (c *Client) finish(err error) {
	c.mu.Lock()
	c.err = err
	for _, ch := range slices.Clone(c.order) {
		ch.endLocked(err)
	}
	c.signalLocked()
	c.mu.Unlock()
	c.cancel()
	close(c.done)
}
