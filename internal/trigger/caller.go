package trigger

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

const (
	// DefaultTimeout is how long a call may take when its trigger does not say.
	DefaultTimeout = 3 * time.Second
	// MaxTimeout is the most a trigger may ask for, as in package policy. Who has promised an answer sooner gives
	// Join and Message a context with a deadline; running into it counts as the trigger's timeout.
	MaxTimeout = 30 * time.Second
)

// Limits bounds what webhooks may cost. Zero fields mean the defaults.
type Limits struct {
	Concurrency     int           // calls of an endpoint at a time; 64
	Waiting         int           // calls waiting for those, per endpoint; 8192
	Endpoints       int           // endpoints whose state is kept; 1024
	AnswerBytes     int           // size of an answer; 256 KiB
	JSONDepth       int           // depth of an answer; 120, leaving room for the frame within limits.json_depth
	BreakerFailures int           // failures in a row that open the breaker; 5
	BreakerOpen     time.Duration // how long it stays open before a trial; 5 s
}

func (l Limits) withDefaults() Limits {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&l.Concurrency, 64)
	set(&l.Waiting, 8192)
	set(&l.Endpoints, 1024)
	set(&l.AnswerBytes, 256<<10)
	set(&l.JSONDepth, 120)
	set(&l.BreakerFailures, 5)
	if l.BreakerOpen <= 0 {
		l.BreakerOpen = 5 * time.Second
	}
	return l
}

// Options configures a Caller. The zero value is usable.
type Options struct {
	// AllowPrivate lets webhooks go to loopback, link-local and private addresses (triggers.allow_private).
	AllowPrivate bool
	Limits       Limits
	// Registerer takes the metrics; nil = they are not exported.
	Registerer prometheus.Registerer
	// Logger takes the logs; nil = discarded.
	Logger *slog.Logger
}

// Caller calls webhooks. Make one with New.
type Caller struct {
	limits    Limits
	log       *slog.Logger
	client    *http.Client
	endpoints *endpoints
	metrics   *metrics
	close     func()
}

// New makes a Caller. It starts nothing.
func New(o Options) (*Caller, error) {
	limits := o.Limits.withDefaults()
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Caller{limits: limits, log: log, endpoints: newEndpoints(limits, log)}
	var err error
	if c.metrics, err = newMetrics(o.Registerer, c.endpoints); err != nil {
		return nil, err
	}
	transport := newTransport(limits, o.AllowPrivate)
	c.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.close = sync.OnceFunc(transport.CloseIdleConnections)
	return c, nil
}

func newTransport(limits Limits, allowPrivate bool) *http.Transport {
	dialer := &net.Dialer{Timeout: MaxTimeout, KeepAlive: 30 * time.Second}
	if !allowPrivate {
		dialer.ControlContext = guard
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil, // see doc.go
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    MaxTimeout,
		Protocols:              protocols,
		DisableCompression:     true, // the bound on answers is one on what is read
		MaxIdleConns:           limits.Endpoints,
		MaxIdleConnsPerHost:    limits.Concurrency,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
	}
}

// Close ends the idle connections. Calls under way go on.
func (c *Caller) Close() { c.close() }

// Join asks the join triggers of a rule. Anything but Passed comes with an error wrapping a *protocol.Error.
func (c *Caller) Join(ctx context.Context, rule []policy.Trigger, in Input) (Verdict, error) {
	_, verdict, err := c.ask(ctx, Join, rule, &in)
	return verdict, err
}

// Message asks the message triggers of a rule and gives the payload that they leave: that of in unless one
// replaced it. Anything but Passed comes with an error wrapping a *protocol.Error.
func (c *Caller) Message(ctx context.Context, rule []policy.Trigger, in Input) (json.RawMessage, Verdict, error) {
	return c.ask(ctx, Message, rule, &in)
}

// Wants tells whether a rule has a trigger for the action.
func Wants(rule []policy.Trigger, action Action) bool {
	for i := range rule {
		if applies(&rule[i], action) {
			return true
		}
	}
	return false
}

func applies(t *policy.Trigger, action Action) bool {
	if action == Join {
		return t.Actions.Join
	}
	return t.Actions.Message
}

func (c *Caller) ask(ctx context.Context, action Action, rule []policy.Trigger, in *Input) (json.RawMessage, Verdict, error) {
	payload := in.Payload
	for i := range rule {
		t := &rule[i]
		if !applies(t, action) {
			continue
		}
		answer, err := c.askOne(ctx, action, t, in, payload)
		switch {
		case err != nil && (gone(ctx) || !t.Allows()):
			return nil, Failed, clientError(action, err)
		case err != nil:
			continue
		case rejects(action, answer):
			c.count(action, outcomeRejected)
			if action == Join {
				return nil, Rejected, fmt.Errorf("trigger: %w", protocol.ErrJoinRejected)
			}
			return nil, Rejected, fmt.Errorf("trigger: %w", protocol.ErrMessageRejected)
		}
		c.count(action, outcomeOK)
		if action == Message {
			payload = answer
		}
	}
	return payload, Passed, nil
}

func (c *Caller) askOne(ctx context.Context, action Action, t *policy.Trigger, in *Input, payload json.RawMessage) (json.RawMessage, error) {
	body, err := in.encode(action, payload)
	if err != nil {
		err = failed(outcomeConfig, err)
	}
	var answer []byte
	if err == nil {
		answer, err = c.call(ctx, t, action, in, body)
	}
	if f, ok := errors.AsType[*failure](err); ok {
		c.count(action, f.outcome)
	}
	return answer, err
}

func (c *Caller) count(action Action, outcome string) {
	c.metrics.total.WithLabelValues(string(action), outcome).Inc()
}
