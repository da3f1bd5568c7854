package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"fanfare/protocol"
)

// Directory knows who is on which channel, on all gateways. See the package comment.
type Directory struct {
	o       Options
	metrics *metrics
	roster  *roster
	started time.Time

	held     chan struct{} // closed when the lease is held for the first time
	heldOnce sync.Once
	known    chan struct{} // closed when the other gateways are known
	done     chan struct{} // closed when Run has ended
	running  atomic.Bool
	handover atomic.Int64 // grace of leaves, nanoseconds
	going    atomic.Bool
	ended    atomic.Bool // Drain has succeeded

	gwMu   sync.Mutex
	gw     string // token we write under; empty without a lease
	lastGW string

	validUntil atomic.Int64 // Unix nanoseconds until which the lease surely stands
	leaseSeq   atomic.Uint64
	reconnects atomic.Uint64
	acked      []atomic.Uint64 // by shard: highest sequence a write of ours got

	checkLease chan struct{}
	beatNow    chan struct{}
	drainLease chan drained
	toPurge    chan string

	nodes   atomic.Pointer[[]NodeInfo]
	janitor atomic.Bool

	msgs     chan *nats.Msg // changes of watched channels
	posts    posts
	readers  chan struct{} // bounds reads of the bucket
	answers  *answers
	barriers []*barrier

	life  context.Context //nolint:containedctx // ends with Run, for the calls of others that wait
	end   context.CancelFunc
	work  sync.WaitGroup // goroutines that end with Run
	spawn sync.Mutex     // guards starting them from outside of Run
	over  bool
}

// drained asks the lease's holder to give it up.
type drained struct {
	grace time.Duration
	done  chan error
}

// Sizes that bound what waits.
const (
	msgsWaiting = 1 << 16
	maxReaders  = 8
	maxRedos    = 4
	maxPurges   = 256
)

// New checks the options and registers the metrics. It starts nothing and sends nothing.
func New(o Options) (*Directory, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	d := &Directory{
		o:          o,
		metrics:    m,
		roster:     newRoster(o.Shards, m),
		started:    time.Now(),
		held:       make(chan struct{}),
		known:      make(chan struct{}),
		done:       make(chan struct{}),
		acked:      make([]atomic.Uint64, o.Shards),
		checkLease: make(chan struct{}, 1),
		beatNow:    make(chan struct{}, 1),
		drainLease: make(chan drained),
		toPurge:    make(chan string, maxPurges),
		msgs:       make(chan *nats.Msg, msgsWaiting),
		readers:    make(chan struct{}, maxReaders),
		barriers:   make([]*barrier, o.Shards),
	}
	d.posts.signal = make(chan struct{}, 1)
	d.life, d.end = context.WithCancel(context.Background()) //nolint:forbidigo // New has no caller's context; Run ends it
	return d, nil
}

// Run holds the lease, writes the entries of our sessions and watches the other gateways. It returns when ctx has
// ended and all its goroutines have. It removes nothing: without Drain before, the others take this gateway for
// crashed. It may be called once.
func (d *Directory) Run(ctx context.Context) error {
	if d.running.Swap(true) {
		return errors.New("presence: Run was called twice")
	}
	defer close(d.done)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, d.end)
	defer stop()
	defer d.waitForAll()
	defer cancel()

	if d.o.Solo {
		if err := d.purgeAll(ctx); err != nil {
			return ignoreDone(ctx, err)
		}
	}
	var err error
	if d.answers, err = listen(d.o.Conn); err != nil {
		return err
	}
	defer func() { _ = d.answers.sub.Unsubscribe() }()
	for shard := range d.barriers {
		d.barriers[shard] = &barrier{start: d.start, put: func() (uint64, error) {
			return d.putBarrier(ctx, shard, barrierKey+string(d.o.Node))
		}}
	}
	l, err := newLoop(d)
	if err != nil {
		return err
	}
	defer l.close()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.run(ctx) })
	g.Go(func() error { return d.runConnection(ctx) })
	g.Go(func() error { return d.runLease(ctx) })
	g.Go(func() error { return d.runHeartbeat(ctx) })
	g.Go(func() error { return d.runWriter(ctx) })
	g.Go(func() error { return d.runJanitor(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	return nil
}

// waitForAll waits for the goroutines started beside the main ones, and lets no others start.
func (d *Directory) waitForAll() {
	d.end()
	d.spawn.Lock()
	d.over = true
	d.spawn.Unlock()
	d.work.Wait()
}

// start runs f in a goroutine that Run waits for; false when Run is over.
func (d *Directory) start(f func()) bool {
	d.spawn.Lock()
	defer d.spawn.Unlock()
	if d.over {
		return false
	}
	d.work.Go(f)
	return true
}

// bound ends a caller's context with Run.
func (d *Directory) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.life, func() { cancel(ErrStopped) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// Ready waits until the lease is held and the other gateways are known.
func (d *Directory) Ready(ctx context.Context) error {
	if d.life.Err() != nil {
		return ErrStopped
	}
	for _, c := range []chan struct{}{d.held, d.known} {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		case <-d.life.Done():
			return ErrStopped
		}
	}
	return nil
}

// Nodes lists the gateways alive now as this one sees them, this one first.
func (d *Directory) Nodes() []NodeInfo {
	self := NodeInfo{ID: d.o.Node, Addr: d.o.Addr, Started: d.started, State: Alive}
	if d.going.Load() {
		self.State = Going
	}
	all := []NodeInfo{self}
	if others := d.nodes.Load(); others != nil {
		all = append(all, *others...)
	}
	return all
}

// shards says which buckets have the members of a topic.
func (d *Directory) shards(t protocol.Topic) []int {
	if !t.Channel.IsPattern() {
		return []int{shardOf(t, d.o.Shards)}
	}
	all := make([]int, d.o.Shards)
	for i := range all {
		all[i] = i
	}
	return all
}

// posts hands work to the loop without ever blocking. It is bounded by those who post: each waits for its work
// or posts once.
type posts struct {
	mu     sync.Mutex
	queue  []func(*loop)
	signal chan struct{}
}

func (p *posts) add(f func(*loop)) {
	p.mu.Lock()
	p.queue = append(p.queue, f)
	p.mu.Unlock()
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

func (p *posts) take() []func(*loop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue
	p.queue = nil
	return q
}

// do runs f in the loop and waits for it.
func (d *Directory) do(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	d.posts.add(func(l *loop) {
		f(l)
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.done:
		return ErrStopped
	}
}

// runConnection notices when the connection to the broker comes back.
func (d *Directory) runConnection(ctx context.Context) error {
	c := d.o.Conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer d.o.Conn.RemoveStatusListener(c)
	check := time.NewTicker(d.o.Redo)
	defer check.Stop()
	lostAt := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			d.verify(ctx, time.Time{})
		case s := <-c:
			if s != nats.CONNECTED {
				lostAt = time.Now()
				continue
			}
			d.reconnects.Add(1)
			d.roster.wakeWriter()
			select {
			case d.checkLease <- struct{}{}:
			default:
			}
			d.posts.add((*loop).reconnected)
			d.verify(ctx, lostAt)
		}
	}
}

// sortNodes orders by id.
func sortNodes(n []NodeInfo) {
	slices.SortFunc(n, func(a, b NodeInfo) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
}
