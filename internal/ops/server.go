package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// answerTimeout bounds everything but profiles, which take as long as they were asked to.
	answerTimeout = 30 * time.Second
	// stopTimeout is how long Run waits for requests when its context ends.
	stopTimeout = 2 * time.Second
	// scrapes bounds the scrapes that run at once; more get 503.
	scrapes = 4
)

// Options is what New needs. Listen and Gatherer must be set.
type Options struct {
	Listen   string // address; port 0 picks one
	Gatherer prometheus.Gatherer
	// Registerer gets the metrics of this package; nil = none.
	Registerer prometheus.Registerer
	Build      Build
	// Checks must all pass for /readyz to say 200.
	Checks []Check
	// Notes are what /readyz says besides: weaker promises than the default ones.
	Notes  []Note
	Pprof  bool
	Logger *slog.Logger
}

// Server is the operations listener.
type Server struct {
	opts Options
	addr atomic.Value // string
}

// New builds a Server and registers its metrics.
func New(opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts}
	if opts.Registerer != nil {
		if err := s.register(opts.Registerer, opts.Build); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Addr is the address Run listens on, empty before.
func (s *Server) Addr() string {
	addr, _ := s.addr.Load().(string)
	return addr
}

// Run serves until ctx ends. It returns an error when it cannot listen or its listener breaks.
func (s *Server) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("ops_listen: %w", err)
	}
	s.addr.Store(listener.Addr().String())
	s.opts.Logger.Info("operations listener is up", "addr", listener.Addr().String(), "pprof", s.opts.Pprof)

	// Requests see the end of Run and not of ctx: a probe that is cut off by the drain it should report tells nothing.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("ops_listen: %w", err)
	case <-ctx.Done():
	}
	stop, done := context.WithTimeout(base, stopTimeout)
	defer done()
	if err := server.Shutdown(stop); err != nil {
		cut() // ends profiles
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ops_listen: %w", err)
	}
	return nil
}

// Handler is everything this package serves.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{
		ErrorLog:            &scrapeLog{log: s.opts.Logger},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapes,
		Timeout:             answerTimeout,
		// OpenMetrics for exemplars and created times. Native histograms come with the protobuf format, which
		// promhttp answers to a scraper that asks for it.
		EnableOpenMetrics: true,
	})
	mux.Handle("GET /metrics", bounded(metrics))
	mux.Handle("GET /healthz", bounded(http.HandlerFunc(healthz)))
	mux.Handle("GET /readyz", bounded(http.HandlerFunc(s.readyz)))
	if s.opts.Pprof {
		profiles(mux)
	}
	return mux
}

// scrapeLog tells why scrapes fail, at most once in ten seconds and the rest at debug level: promhttp says of a scraper
// that went away that it did so for each metric family that was left.
type scrapeLog struct {
	log  *slog.Logger
	last atomic.Int64 // Unix nanoseconds
}

func (l *scrapeLog) Println(v ...any) {
	log := l.log.Debug
	now := time.Now().UnixNano()
	if last := l.last.Load(); now-last >= int64(10*time.Second) && l.last.CompareAndSwap(last, now) {
		log = l.log.Warn
	}
	log("scrape failed", "err", strings.TrimSpace(fmt.Sprintln(v...)))
}

// bounded gives a request a write deadline: a scraper that stops reading must not keep its connection.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not every ResponseWriter has deadlines (a test's recorder); then there is nobody to wait for either.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout + stopTimeout))
		next.ServeHTTP(w, r)
	})
}

// healthz says that the process answers. It checks nothing else: a restart mends nothing that this node waits
// for, and would send its clients away.
func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok\n"))
}
