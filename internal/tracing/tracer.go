package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

// Options is what New needs.
type Options struct {
	// Endpoint is the collector's address, such as http://collector:4318; /v1/traces is added where no path is.
	Endpoint string
	// Ratio is the part of the publications that is sampled, from 0 to 1.
	Ratio float64
	// Node and Version name this process to whoever looks at a trace.
	Node    protocol.NodeID
	Version string
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Limits of what waits and of what is sent at once.
const (
	maxQueue    = 8192
	maxBatch    = 512
	interval    = time.Second
	postTimeout = 5 * time.Second
	retryPause  = 500 * time.Millisecond
)

// Span is a stretch of a publication's way.
type Span struct {
	Name       string
	Begin, End time.Time
	// Root is the first span of the trace: the one that accepted the publication. The others are below it.
	Root   bool
	Failed string // what went wrong; "" = nothing
	// Texts and Numbers are attributes, as key and value.
	Texts   [][2]string
	Numbers []Number
}

// Number is an attribute.
type Number struct {
	Key   string
	Value int64
}

// Tracer records spans and sends them.
type Tracer struct {
	o       Options
	url     string
	below   uint64
	http    *http.Client
	metrics *metrics

	mu    sync.Mutex
	queue []recorded
	wake  chan struct{} // one token: a batch is full
}

type recorded struct {
	trace, root string
	span        Span
}

// New checks the options and starts nothing.
func New(o Options) (*Tracer, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("tracing: %q is not an http or https address", o.Endpoint)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Tracer{
		o: o, url: u.String(), below: threshold(o.Ratio), metrics: m, wake: make(chan struct{}, 1),
		http: &http.Client{Timeout: postTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute}},
	}, nil
}

// Record takes a span of a publication that was sampled. It never blocks.
func (t *Tracer) Record(p *protocol.Publication, s Span) {
	trace, root := identify(p)
	t.mu.Lock()
	full := len(t.queue) >= maxQueue
	if !full {
		t.queue = append(t.queue, recorded{trace, root, s})
	}
	n := len(t.queue)
	t.mu.Unlock()
	if full {
		t.metrics.dropped.Inc()
		return
	}
	if n >= maxBatch {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// Run sends until ctx ends, and then what is left.
func (t *Tracer) Run(ctx context.Context) error {
	defer t.http.CloseIdleConnections()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), postTimeout)
			defer cancel()
			t.flush(last)
			return nil
		case <-tick.C:
		case <-t.wake:
		}
		t.flush(ctx)
	}
}

// flush sends everything that waits, a batch after the other.
func (t *Tracer) flush(ctx context.Context) {
	for {
		t.mu.Lock()
		n := min(len(t.queue), maxBatch)
		batch := t.queue[:n:n]
		t.queue = t.queue[n:]
		if len(t.queue) == 0 {
			t.queue = nil // the memory of a burst is not kept
		}
		t.mu.Unlock()
		if n == 0 {
			return
		}
		err := t.send(ctx, batch)
		if err != nil {
			t.metrics.failed.Add(float64(n))
			if t.metrics.down() {
				t.o.Logger.Warn("traces cannot be sent; spans are given up", "endpoint", t.url, "spans", n, "err", err)
			}
			continue
		}
		t.metrics.sent.Add(float64(n))
		if t.metrics.up() {
			t.o.Logger.Info("traces are sent again", "endpoint", t.url)
		}
	}
}

// errAnswer is a collector's answer other than 200.
var errAnswer = errors.New("collector answered")

// send posts a batch, a second time when that may help.
func (t *Tracer) send(ctx context.Context, batch []recorded) error {
	body := t.encode(batch)
	for try := 0; ; try++ {
		again, err := t.post(ctx, body)
		if err == nil || !again || try == 1 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause):
		}
	}
}

func (t *Tracer) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("traces: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := t.http.Do(request)
	if err != nil {
		return true, fmt.Errorf("traces: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	_ = response.Body.Close()
	switch {
	case response.StatusCode/100 == 2:
		return false, nil
	case response.StatusCode == http.StatusTooManyRequests, response.StatusCode >= 502 && response.StatusCode <= 504:
		again = true // what OTLP calls retryable
	}
	return again, fmt.Errorf("%w %s", errAnswer, response.Status)
}
