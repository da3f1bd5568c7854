package broker

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Timing of stored publications.
const (
	attemptWait   = 2 * time.Second // for an acknowledgement, before it is sent again
	firstBackoff  = 50 * time.Millisecond
	lastBackoff   = 500 * time.Millisecond
	offlinePoll   = 100 * time.Millisecond
	offlineGrace  = 3 * time.Second // for how long publications wait for a lost connection
	maxProbes     = 8               // attempts at once on a stream that does not acknowledge
	ackQueue      = 16384
	confirmWait   = 2 * time.Second
	flushInterval = 5 * time.Millisecond
)

// sender owns the connection for publications. Publish hands over under mu and never waits; one goroutine, run,
// owns everything else.
type sender struct {
	b    *Broker
	nc   *nats.Conn
	wake chan struct{}

	inFlight atomic.Int64 // publications not answered or not sent yet
	bytes    atomic.Int64

	mu       sync.Mutex // guards what follows
	stopped  bool
	core     []coreMessage
	numbered uint64 // core messages so far
	fresh    []*pending
	kicked   bool

	// owned by run
	acks   chan *nats.Msg
	prefix string // of reply subjects
	token  uint64
	wait   map[uint64]*pending // by token
	lanes  map[protocol.SessionID]*lane
	due    dueHeap
	down   [subject.Shards]outage
	checks sync.WaitGroup
}

// coreMessage is an unstored publication for other gateways.
type coreMessage struct {
	subject string
	data    []byte
	at      time.Time
}

// pending is a stored publication under way.
type pending struct {
	msg      *nats.Msg
	p        *protocol.Publication
	lane     protocol.SessionID
	shard    int
	expect   uint64 // sequence, when expecting
	expects  bool
	size     int64
	done     func(protocol.Receipt, error)
	began    time.Time
	deadline time.Time

	token    uint64
	at       time.Time // when something is to be done about it
	index    int       // in the heap
	waiting  bool      // for its lane
	sent     bool      // at least once
	probe    bool      // counted in its shard's probes
	backoff  time.Duration
	answered bool
}

// lane keeps the order of one sender: one publication is under way, the others wait.
type lane struct{ waiting []*pending }

// outage tells that a stream does not acknowledge: only a few publications try then.
type outage struct {
	down   bool
	probes int
}

func newSender(b *Broker) *sender {
	return &sender{
		b: b, nc: b.o.Client.Publish(), wake: make(chan struct{}, 1), acks: make(chan *nats.Msg, ackQueue),
		wait: map[uint64]*pending{}, lanes: map[protocol.SessionID]*lane{},
	}
}

// reserve takes room for a message; false when the limits are reached.
func (s *sender) reserve(size int64) bool {
	n, bytes := s.inFlight.Add(1), s.bytes.Add(size)
	if n > int64(s.b.o.MaxInFlight) || bytes > int64(s.b.o.MaxInFlightBytes) {
		s.release(size)
		return false
	}
	return true
}

func (s *sender) release(size int64) {
	s.inFlight.Add(-1)
	s.bytes.Add(-size)
}

// signal wakes run.
func (s *sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// kick has everything sent again at once: the connection is new.
func (s *sender) kick() {
	s.mu.Lock()
	s.kicked = true
	s.mu.Unlock()
	s.signal()
}

// flush waits until nothing is under way.
func (s *sender) flush(ctx context.Context) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for s.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d publications are under way: %w", s.inFlight.Load(), context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

func (s *sender) run(ctx context.Context) error {
	s.prefix = s.nc.NewInbox() + "."
	sub, err := s.nc.ChanSubscribe(s.prefix+"*", s.acks)
	if err != nil {
		s.stop()
		return fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	defer s.stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.arm(timer)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			s.takeOver()
		case m := <-s.acks:
			s.acknowledged(ctx, m)
			for n := len(s.acks); n > 0; n-- {
				s.acknowledged(ctx, <-s.acks)
			}
		case <-timer.C:
		}
		s.work(time.Now())
	}
}

// arm sets the timer to the next thing to do.
func (s *sender) arm(timer *time.Timer) {
	if len(s.due) == 0 {
		timer.Stop()
		return
	}
	timer.Reset(max(time.Until(s.due[0].at), time.Millisecond))
}

// takeOver sends what Publish handed over.
func (s *sender) takeOver() {
	s.mu.Lock()
	core, fresh, kicked := s.core, s.fresh, s.kicked
	s.core, s.fresh, s.kicked = nil, nil, false
	s.mu.Unlock()
	now := time.Now()
	s.sendCore(core, now)
	for _, p := range fresh {
		s.enter(p, now)
	}
	if kicked {
		for _, p := range s.due {
			if !p.waiting {
				p.at, p.backoff = now, firstBackoff // not the stream's silence
			}
		}
		heap.Init(&s.due)
		for shard := range s.down {
			s.down[shard].down = false
		}
	}
}

// sendCore publishes unstored publications. While the connection is lost they wait for a moment.
func (s *sender) sendCore(core []coreMessage, now time.Time) {
	for i, m := range core {
		if !s.nc.IsConnected() && now.Sub(m.at) < offlineGrace {
			s.mu.Lock()
			s.core = append(core[i:len(core):len(core)], s.core...)
			s.mu.Unlock()
			time.AfterFunc(offlinePoll, s.signal)
			return
		}
		if err := s.nc.Publish(m.subject, m.data); err != nil {
			s.b.metrics.dropped.WithLabelValues("cut").Inc()
		}
		s.release(int64(len(m.data)))
	}
}

// enter gives a publication its token and its place in its lane.
func (s *sender) enter(p *pending, now time.Time) {
	s.token++
	p.token = s.token
	p.msg.Reply = s.prefix + strconv.FormatUint(p.token, 36)
	s.wait[p.token] = p
	if p.lane != "" {
		if l := s.lanes[p.lane]; l != nil {
			p.waiting, p.at = true, p.deadline
			heap.Push(&s.due, p)
			l.waiting = append(l.waiting, p)
			return
		}
		s.lanes[p.lane] = &lane{}
	}
	p.at = now
	heap.Push(&s.due, p)
	s.attempt(p, now)
}

// attempt sends a publication, or notes when to try again.
func (s *sender) attempt(p *pending, now time.Time) {
	o := &s.down[p.shard]
	wait := attemptWait
	switch {
	case !s.nc.IsConnected():
		wait = offlinePoll
	case o.down && !p.probe && o.probes >= maxProbes:
		wait = offlinePoll
	default:
		if p.sent {
			s.b.metrics.retries.Inc()
		}
		if o.down && !p.probe {
			p.probe = true
			o.probes++
		}
		switch err := s.nc.PublishMsg(p.msg); {
		case err == nil:
			p.sent = true
		case errors.Is(err, nats.ErrMaxPayload):
			s.finish(p, protocol.Receipt{}, tooLarge(s.nc.MaxPayload()))
			return
		default:
			wait = offlinePoll
		}
	}
	s.later(p, now.Add(wait))
}

// later plans the next attempt, no later than the deadline.
func (s *sender) later(p *pending, at time.Time) {
	if at.After(p.deadline) {
		at = p.deadline
	}
	p.at = at
	heap.Fix(&s.due, p.index)
}

// work does what is due.
func (s *sender) work(now time.Time) {
	for len(s.due) > 0 && !s.due[0].at.After(now) {
		p := s.due[0]
		switch {
		case !now.Before(p.deadline):
			err := protocol.ErrUnavailable
			if p.sent {
				err = protocol.ErrUnknownOutcome
			}
			s.finish(p, protocol.Receipt{}, err)
		default:
			if p.sent && p.backoff == 0 { // no answer came
				s.silent(p)
			}
			p.backoff = 0
			s.attempt(p, now)
		}
	}
}

// silent notes that a stream owes an acknowledgement.
func (s *sender) silent(p *pending) {
	s.down[p.shard].down = true
	if p.probe {
		p.probe = false
		s.down[p.shard].probes--
	}
}

// finish answers a publication and lets the next one of its lane go.
func (s *sender) finish(p *pending, r protocol.Receipt, err error) {
	if p.answered {
		return
	}
	p.answered = true
	delete(s.wait, p.token)
	heap.Remove(&s.due, p.index)
	if p.probe {
		s.down[p.shard].probes--
	}
	s.release(p.size)
	s.answer(p, r, err)
	if p.lane == "" || p.waiting {
		return // one that waited is skipped when its lane comes to it
	}
	l := s.lanes[p.lane]
	for len(l.waiting) > 0 {
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		if !next.answered {
			next.waiting = false
			s.attempt(next, time.Now())
			return
		}
	}
	delete(s.lanes, p.lane)
}

// answer calls done and counts.
func (s *sender) answer(p *pending, r protocol.Receipt, err error) {
	if err == nil {
		s.b.metrics.ack.Observe(time.Since(p.began).Seconds())
	}
	s.b.metrics.published.WithLabelValues("stored", resultOf(r, err)).Inc()
	p.done(r, err)
}

// stop answers everything that is under way.
func (s *sender) stop() {
	s.mu.Lock()
	s.stopped = true
	core, fresh := s.core, s.fresh
	s.core, s.fresh = nil, nil
	s.mu.Unlock()
	for _, m := range core {
		if s.nc.Publish(m.subject, m.data) != nil {
			s.b.metrics.dropped.WithLabelValues("cut").Inc()
		}
		s.release(int64(len(m.data)))
	}
	for _, p := range fresh {
		s.release(p.size)
		s.answer(p, protocol.Receipt{}, protocol.ErrUnavailable)
	}
	for _, p := range s.wait {
		s.release(p.size)
		if p.sent {
			s.answer(p, protocol.Receipt{}, protocol.ErrUnknownOutcome)
		} else {
			s.answer(p, protocol.Receipt{}, protocol.ErrUnavailable)
		}
	}
	clear(s.wait)
	s.checks.Wait()
}
