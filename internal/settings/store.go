package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Options of New. Either Conn or File is set.
type Options struct {
	// Conn is the connection to the broker; it may be reconnecting.
	Conn *nats.Conn
	// Replicas of the bucket; 0 = 1.
	Replicas int
	// File is the path of a settings file.
	File string
	// Limits bound the settings.
	Limits policy.Limits
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger

	// CheckInterval is how often the file is read, or the bucket is asked whether the watch missed something; 0 = 500 ms
	// for a file, 5 s for the bucket.
	CheckInterval time.Duration
}

// MaxServers is how many realtime servers there may be.
const MaxServers = 1000

// Store is the settings of a node.
type Store struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	source  source

	current atomic.Pointer[policy.Book]
	// dirty holds one token while Run has not yet told everybody about current.
	dirty chan struct{}

	mu       sync.Mutex // guards what follows; no I/O or callback under it
	state    state
	onChange []func(old, now *policy.Book)
}

// source is where servers come from: a bucket or a file. load and run hand what they read to the store.
type source interface {
	ensure(ctx context.Context) error
	load(ctx context.Context) error
	run(ctx context.Context) error
}

// New makes a store; it touches neither the broker nor the file.
func New(o Options) (*Store, error) {
	if (o.Conn == nil) == (o.File == "") {
		return nil, errors.New("settings need a connection or a file, not both")
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, log: o.Logger, metrics: m, dirty: make(chan struct{}, 1)}
	s.state.entries = make(map[protocol.ServerID]*entry)
	s.current.Store(&policy.Book{})
	if o.File != "" {
		s.source = &fileSource{store: s}
		return s, nil
	}
	b, err := newBucket(s)
	if err != nil {
		return nil, err
	}
	s.source = b
	return s, nil
}

// ReadOnly tells whether the settings come from a file.
func (s *Store) ReadOnly() bool { return s.o.File != "" }

// Current gives the settings in force. It is never nil.
func (s *Store) Current() *policy.Book { return s.current.Load() }

// OnChange adds a callback for changes. It must be called before Run.
func (s *Store) OnChange(fn func(old, now *policy.Book)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onChange = append(s.onChange, fn)
}

// Ensure makes the bucket, and in an empty one realtime server 1: disabled, with a generated hash. Any number of
// nodes may do it at once. With a file there is nothing to make.
func (s *Store) Ensure(ctx context.Context) error { return s.source.ensure(ctx) }

// Load reads all settings once. For stored values that are invalid the last valid ones count; a file that is
// invalid is an error, because a node that just starts has nothing else.
func (s *Store) Load(ctx context.Context) error { return s.source.load(ctx) }

// Run follows changes until ctx ends and then returns nil. It does not end for lack of a broker or a file.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	// What Load put in force is where the callbacks start from. The token goes first: a change in between leaves
	// another one.
	select {
	case <-s.dirty:
	default:
	}
	seen := s.Current()
	go func() { done <- s.source.run(ctx) }()
	for {
		select {
		case <-s.dirty:
			seen = s.tell(seen)
		case err := <-done:
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("follow settings: %w", err)
			}
			return nil
		}
	}
}

// tell calls the callbacks when the book is not the one they saw last.
func (s *Store) tell(seen *policy.Book) *policy.Book {
	now := s.Current()
	if now == seen {
		return seen
	}
	s.mu.Lock()
	callbacks := s.onChange
	s.mu.Unlock()
	for _, fn := range callbacks {
		fn(seen, now)
	}
	return now
}

// swapLocked puts in force what state holds.
func (s *Store) swapLocked() {
	old := s.current.Load()
	book, losers := s.state.book(old)
	for _, l := range losers {
		s.metrics.invalid.Inc()
		s.log.Error("settings: hash belongs to another server; the previous settings stay in force",
			"server", l.id, "owner", l.owner)
	}
	s.current.Store(book)
	s.metrics.observe(book)
	s.metrics.refused.Set(float64(s.state.spoilt() + len(losers)))
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}
