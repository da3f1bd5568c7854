package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// run is one run under way.
type run struct {
	o       Options
	base    time.Time
	id      string
	prefix  []byte // of marks
	targets []*target
	http    *http.Client
	shards  []*shard
	buffers sync.Pool
	conns   []*conn
	readers sync.WaitGroup
	result  *Result

	late     histogram    // of senders
	measured atomic.Int64 // what is due from then on counts
	busy     atomic.Int64
	open     atomic.Int64
	closing  atomic.Bool // whose end is expected now

	mu          sync.Mutex // guards what follows
	errors      map[string]int64
	disconnects map[string]int64
}

// shard is where some of the connections count: all of them in one place would wait for each other.
type shard struct {
	latency                             histogram
	received, duplicates, late, foreign atomic.Int64
	reads                               atomic.Int64
	_                                   [64]byte
}

// Run carries out a scenario. An error means that there are no figures; what was lost is in the result.
func Run(ctx context.Context, o Options) (*Result, error) {
	o = o.withDefaults()
	if err := o.check(OpenFiles()); err != nil {
		return nil, &UsageError{err}
	}
	r, err := newRun(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxDuration)
	defer cancel()
	defer r.http.CloseIdleConnections()
	stop := r.tell()
	err = r.scenario(ctx)
	stop()
	r.hangUp()
	if err != nil {
		return nil, err
	}
	r.finish()
	return r.result, nil
}

// UsageError is about options that cannot be met.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

func newRun(o Options) (*run, error) {
	r := &run{o: o, base: time.Now(), errors: map[string]int64{}, disconnects: map[string]int64{}}
	var id [runDigits / 2]byte
	_, _ = rand.Read(id[:]) // never fails
	r.id = hex.EncodeToString(id[:])
	r.prefix = []byte(markWord + r.id)
	for _, address := range o.URLs {
		t, err := newTarget(address, o.Hash, o.Token)
		if err != nil {
			return nil, &UsageError{err}
		}
		r.targets = append(r.targets, t)
	}
	r.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: publishers, Proxy: http.ProxyFromEnvironment}}
	for range runtime.GOMAXPROCS(0) {
		r.shards = append(r.shards, &shard{})
	}
	r.buffers.New = func() any { b := make([]byte, 64<<10); return &b }
	r.conns = make([]*conn, o.Connections())
	r.result = &Result{
		Scenario: o.Scenario, URLs: o.URLs, Started: r.base.UTC(), Connections: len(r.conns),
		Channels: o.Channels, Members: o.Members,
	}
	return r, nil
}

func (r *run) scenario(ctx context.Context) error {
	if err := r.probe(ctx); err != nil {
		return err
	}
	switch r.o.Scenario {
	case Idle:
		return r.idle(ctx)
	case Storm:
		return r.storm(ctx)
	case Presence:
		return r.presence(ctx)
	case History:
		return r.history(ctx)
	default:
		return r.messages(ctx)
	}
}

func (r *run) now() time.Duration { return time.Since(r.base) }

// sum adds up one counter of all shards.
func (r *run) sum(of func(*shard) *atomic.Int64) (n int64) {
	for _, s := range r.shards {
		n += of(s).Load()
	}
	return n
}

func (r *run) received() int64 { return r.sum(func(s *shard) *atomic.Int64 { return &s.received }) }

// latency is the distribution of all shards so far.
func (r *run) latency() *Latency {
	parts := make([]*histogram, len(r.shards))
	for i, s := range r.shards {
		parts[i] = &s.latency
	}
	return summarize(parts...)
}

// maxReasons bounds the maps of reasons.
const maxReasons = 100

func count(m map[string]int64, reason string) {
	if _, known := m[reason]; known || len(m) < maxReasons {
		m[reason]++
	}
}

// refused notes an error of the server.
func (r *run) refused(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count(r.errors, code)
}

// lost notes a connection that ended without our doing.
func (r *run) lost(c *conn) {
	if r.closing.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	count(r.disconnects, c.err.Error())
}

// hangUp ends all connections in order and waits for their readers.
func (r *run) hangUp() {
	for _, c := range r.conns {
		if c != nil {
			_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader looks once more, says goodbye and closes
		}
	}
	r.readers.Wait()
}

// cut ends connections as a lost network does and waits for their readers.
func (r *run) cut(conns []*conn) {
	for _, c := range conns {
		_ = c.nc.Close()
	}
	for _, c := range conns {
		<-c.ended
	}
}

// phase is a span over which CPU is told.
type phase struct {
	at      time.Duration
	own     time.Duration
	machine ticks
	server  *sample
}

func (r *run) begin(ctx context.Context) (phase, error) {
	server, err := r.look(ctx)
	return phase{r.now(), ownCPU(), machineTicks(), server}, err
}

// end puts what the span from p cost into the result. deliveries is how many there were.
func (r *run) end(ctx context.Context, p phase, deliveries int64) error {
	q, err := r.begin(ctx)
	if err != nil {
		return err
	}
	seconds := (q.at - p.at).Seconds()
	g := &r.result.Generator
	g.CPUs = runtime.GOMAXPROCS(0)
	g.CPUSeconds = round((q.own - p.own).Seconds(), 3)
	g.Cores = round((q.own-p.own).Seconds()/seconds, 3)
	g.MachineIdle = round(q.machine.idleSince(p.machine), 3)
	if r.result.Seconds == 0 {
		r.result.Seconds = round(seconds, 3)
	}
	if q.server == nil {
		return nil
	}
	used := q.server.cpu - p.server.cpu
	s := &Server{
		CPUSeconds: round(used, 3), Cores: round(used/seconds, 3), RSSMiB: round(q.server.rss/(1<<20), 1),
		Flushes: q.server.flushes - p.server.flushes,
	}
	if deliveries > 0 {
		s.PerMillion = round(used/float64(deliveries)*1e6, 3)
	}
	r.result.Server = s
	return nil
}

// tell prints how it goes twice a second until stop is called.
func (r *run) tell() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			line := fmt.Sprintf("%s %.0fs: %d of %d connections", r.o.Scenario, r.now().Seconds(), r.open.Load(), len(r.conns))
			if n := r.received(); n > 0 {
				line += fmt.Sprintf(", %d deliveries", n)
				if l := r.latency(); l != nil {
					line += fmt.Sprintf(", p50 %.1f ms, p99 %.1f ms", l.P50, l.P99)
				}
			}
			r.o.Progress(line)
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
