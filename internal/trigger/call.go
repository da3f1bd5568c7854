package trigger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/sony/gobreaker/v2"

	"fanfare/internal/policy"
)

// call asks one webhook and gives its answer. The error is always a *failure.
func (c *Caller) call(ctx context.Context, t *policy.Trigger, action Action, in *Input, body []byte) ([]byte, error) {
	ep, err := c.endpoints.acquire(endpointKey{server: in.Server, url: t.URL})
	if err != nil {
		return nil, failed(outcomeBusy, err)
	}
	defer c.endpoints.release(ep)
	answer, err := c.callEndpoint(ctx, ep, t, action, body)
	var f *failure
	if errors.As(err, &f) && f.outcome != outcomeCanceled && f.outcome != outcomeBreaker {
		ep.logs.Do(func() {
			c.log.Warn("webhook failed", "host", ep.host, "server", int64(in.Server),
				"action", string(action), "reason", f.outcome, "err", f.err)
		})
	}
	return answer, err
}

func (c *Caller) callEndpoint(ctx context.Context, ep *endpoint, t *policy.Trigger, action Action, body []byte) ([]byte, error) {
	// Asked before waiting for a slot, so that nobody queues for a dead endpoint.
	if ep.breaker.State() == gobreaker.StateOpen {
		return nil, failed(outcomeBreaker, gobreaker.ErrOpenState)
	}
	own, cancel := context.WithTimeout(ctx, timeout(t))
	defer cancel()
	if err := ep.slots.Acquire(own, 1); err == nil {
		defer ep.slots.Release(1)
	}
	if err := own.Err(); err != nil { // also when the slot came in the last moment
		if gone(ctx) {
			return nil, failed(outcomeCanceled, err)
		}
		return nil, failed(outcomeBusy, errSlots)
	}
	answer, err := ep.breaker.Execute(func() ([]byte, error) {
		c.metrics.inFlight.Inc()
		start := time.Now()
		answer, err := c.post(own, t, body)
		took := time.Since(start)
		c.metrics.inFlight.Dec()
		c.metrics.latency.WithLabelValues(string(action)).Observe(took.Seconds())
		if err == nil {
			return answer, nil
		}
		if gone(ctx) {
			return nil, failed(outcomeCanceled, err)
		}
		if f := (*failure)(nil); errors.As(err, &f) {
			f.hurried = took < timeout(t)/2
		}
		return nil, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return nil, failed(outcomeBreaker, err)
	}
	return answer, err
}

func timeout(t *policy.Trigger) time.Duration {
	if t.TimeoutMS <= 0 {
		return DefaultTimeout
	}
	return min(time.Duration(t.TimeoutMS)*time.Millisecond, MaxTimeout)
}

// post makes the request and reads the answer.
func (c *Caller) post(ctx context.Context, t *policy.Trigger, body []byte) ([]byte, error) {
	req, err := c.request(ctx, t, body)
	if err != nil {
		return nil, failed(outcomeConfig, err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, transportFailure(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, failed(outcomeRedirect, fmt.Errorf("%w: %d", errStatus, resp.StatusCode))
	case resp.StatusCode >= 502 && resp.StatusCode <= 504:
		discard(resp.Body)
		return nil, failed(outcomeStatus, fmt.Errorf("%w: %d", errGatewayStatus, resp.StatusCode))
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		discard(resp.Body)
		return nil, failed(outcomeStatus, fmt.Errorf("%w: %d", errStatus, resp.StatusCode))
	case resp.ContentLength > int64(c.limits.AnswerBytes):
		return nil, failed(outcomeTooLarge, fmt.Errorf("%d bytes, at most %d", resp.ContentLength, c.limits.AnswerBytes))
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, int64(c.limits.AnswerBytes)+1))
	if end, bounded := ctx.Deadline(); err == nil && bounded && time.Now().After(end) {
		err = context.DeadlineExceeded // late, though a machine short of time has not noticed
	}
	if err != nil {
		return nil, transportFailure(err)
	}
	if len(raw) > c.limits.AnswerBytes {
		return nil, failed(outcomeTooLarge, fmt.Errorf("more than %d bytes", c.limits.AnswerBytes))
	}
	answer, err := parseAnswer(raw, c.limits.JSONDepth)
	if err != nil {
		return nil, failed(outcomeAnswer, err)
	}
	return answer, nil
}

func (c *Caller) request(ctx context.Context, t *policy.Trigger, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("url cannot be used")
	}
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return nil, errors.New("url must be http or https")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "fanfare")
	// Present but empty: net/http may then repeat the call on a fresh connection when the kept one turns out to
	// have been closed by the other side, and sends no such header. The webhook-id stays the same.
	req.Header["Idempotency-Key"] = nil
	return req, SignRequest(req.Header, t.Secret, NewMessageID(), time.Now(), body)
}

// discard reads a short rest, which keeps the connection usable; a long one is not worth it.
func discard(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 4<<10) }

// transportFailure sorts what net/http returns, and takes the URL out of it.
func transportFailure(err error) *failure {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	var dial *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, errAddress):
		return failed(outcomeAddress, err)
	case errors.Is(err, context.DeadlineExceeded):
		return failed(outcomeTimeout, err)
	case errors.As(err, &dns), errors.As(err, &dial) && dial.Op == "dial":
		return failed(outcomeConnect, err)
	}
	return failed(outcomeDropped, err)
}
