package api

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of New.
type Options struct {
	Settings Settings
	Backend  Backend
	// Lifecycle may be nil: then its path answers 404 lifecycle_off.
	Lifecycle Lifecycle
	// AdminToken guards /api:meta, and opens /api/v1 too, for the console; empty = /api:meta is off, unless there is a
	// key with the scope admin.
	AdminToken string
	// APIKeys guard /api/v1, see ParseKeys for their form; none = off.
	APIKeys []string
	Limits  Limits
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Limits bound events and answers. The zero value is the documented default.
type Limits struct {
	MessageBytes    int // of an event's data; 0 = 65536
	JSONDepth       int // of the frame an event becomes; 0 = 128
	ChannelBytes    int // 0 = 200
	ChannelSegments int // 0 = 16
	HistoryFrames   int // of one answer; 0 = 1000
}

// Bounds that nobody needed to configure so far.
const (
	maxBody        = 1 << 20
	maxPage        = 1000
	defaultPage    = 100
	maxNames       = 100  // channels asked for by name
	maxBatch       = 1000 // events
	maxID          = 128  // bytes of an event's id
	maxAnswerBytes = 8 << 20
	maxWaiting     = 256 // requests that wait for lifecycle events
	maxWait        = 60 * time.Second
	callTimeout    = 15 * time.Second // longer than the 12 s within which a publish is decided
)

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MessageBytes, 65536)
	def(&l.JSONDepth, 128)
	def(&l.ChannelBytes, 200)
	def(&l.ChannelSegments, 16)
	def(&l.HistoryFrames, 1000)
	return l
}

// API is the handler.
type API struct {
	o        Options
	log      *slog.Logger
	metrics  *metrics
	routes   []route
	keys     keyring
	throttle throttle
	waiting  chan struct{} // one token for each request that waits

	drained  chan struct{}
	drainOne sync.Once
}

// New makes the handler. Its errors are bad entries in APIKeys and metrics that cannot be registered.
func New(o Options) (*API, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	keys, err := newKeyring(o.AdminToken, o.APIKeys)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &API{
		o: o, log: o.Logger, metrics: m, keys: keys, routes: newRoutes(),
		waiting: make(chan struct{}, maxWaiting), drained: make(chan struct{}),
		throttle: throttle{now: time.Now, seen: make(map[addr]*failures)},
	}, nil
}

// Drain ends waiting requests at once, and lets no new one wait.
func (a *API) Drain() { a.drainOne.Do(func() { close(a.drained) }) }

// ServeHTTP answers everything under /api:meta and /api, and 404 as JSON for any other path.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	out := &answer{ResponseWriter: w}
	h := out.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	name, err := a.serve(out, r)
	if err != nil {
		a.fail(out, r, name, err)
	}
	a.metrics.requests.WithLabelValues(name, methodLabel(r.Method), statusLabel(out.status)).Inc()
	a.metrics.duration.WithLabelValues(name).Observe(time.Since(began).Seconds())
}

// serve finds who answers and checks who asks. The name is that of the route, for metrics.
func (a *API) serve(w http.ResponseWriter, r *http.Request) (string, error) {
	rt, params, err := a.match(r)
	if err != nil {
		return "none", err
	}
	req := &request{w: w, r: r, params: params, log: a.log}
	if err := a.admit(req, rt.access); err != nil {
		return rt.name, err
	}
	if rt.hash {
		if err := a.findServer(req, rt); err != nil {
			return rt.name, err
		}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	return rt.name, rt.handle(a, req)
}
