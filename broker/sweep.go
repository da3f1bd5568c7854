package broker

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Republishing is best effort, and a back-link shows a hole only when something follows. So the newest
// publication of every channel is checked now and then: shortly after attaching, after whatever makes the live
// path suspect, and regularly.

// Bounds of checks.
const (
	sweepTick   = 200 * time.Millisecond
	sweepWait   = 10 * time.Second
	secondLook  = 50 * time.Millisecond // what is on its way arrives in this time
	checkTopics = 500                   // channels asked for at once
	checkBytes  = 256 << 10             // and their subjects' length
	maxDue      = 8                     // checks a shard may have planned

	unknownEpoch = "?"

	leaderElected = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."
)

// tailAt is when after attaching the newest publication is checked: the broker's servers learn of an interest
// one after the other.
var tailAt = [...]time.Duration{time.Second, 3 * time.Second} //nolint:gochecknoglobals // a constant

// sweeper plans and runs the checks.
type sweeper struct {
	b    *Broker
	wake chan struct{}

	mu      sync.Mutex // guards what follows; taken under a feed's mu
	due     [subject.Shards][]time.Time
	running [subject.Shards]bool
	young   [len(tailAt)][]attachment // in order of time
}

type attachment struct {
	f  *Feed
	at time.Time
}

func newSweeper(b *Broker) *sweeper { return &sweeper{b: b, wake: make(chan struct{}, 1)} }

// suspectAll plans checks of all shards.
func (s *sweeper) suspectAll(after ...time.Duration) {
	for shard := range subject.Shards {
		s.suspect(shard, after...)
	}
}

// suspect plans checks of a shard.
func (s *sweeper) suspect(shard int, after ...time.Duration) {
	now := time.Now()
	s.mu.Lock()
	for _, d := range after {
		if len(s.due[shard]) < maxDue {
			s.due[shard] = append(s.due[shard], now.Add(d))
		}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// attached plans the checks of a new feed. They are as many as there are feeds attached within 3 s.
func (s *sweeper) attached(f *Feed) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, d := range tailAt {
		s.young[i] = append(s.young[i], attachment{f, now.Add(d)})
	}
}

func (s *sweeper) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.watchLeaders(ctx) })
	var regular [subject.Shards]time.Time
	every := s.b.o.SweepInterval
	for shard := range regular { // spread evenly at first
		regular[shard] = time.Now().Add(every * time.Duration(shard+1) / subject.Shards)
	}
	tick := time.NewTicker(min(sweepTick, every))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
		now := time.Now()
		for shard := range subject.Shards {
			if now.After(regular[shard]) {
				s.suspect(shard, 0)
				regular[shard] = now.Add(every/2 + rand.N(every/2+1))
			}
			if s.take(shard, now) {
				group.Go(func() { s.sweep(ctx, shard) })
			}
		}
		for _, feeds := range s.takeYoung(now) {
			group.Go(func() { s.check(ctx, feeds[0].shard, feeds, "attach") })
		}
	}
}

// take tells whether a check of a shard is due and none runs.
func (s *sweeper) take(shard int, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[shard] {
		return false
	}
	before := len(s.due[shard])
	s.due[shard] = slices.DeleteFunc(s.due[shard], func(t time.Time) bool { return !t.After(now) })
	if len(s.due[shard]) == before {
		return false
	}
	s.running[shard] = true
	return true
}

// takeYoung gives the feeds whose first checks are due, by shard; patterns each on their own.
func (s *sweeper) takeYoung(now time.Time) (groups [][]*Feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var shards [subject.Shards][]*Feed
	for i := range s.young {
		n := 0
		for _, a := range s.young[i] {
			if a.at.After(now) {
				break
			}
			n++
			switch {
			case a.f.closed.Load():
			case a.f.pattern:
				for shard := range subject.Shards {
					s.due[shard] = append(s.due[shard], now)
				}
			default:
				shards[a.f.shard] = append(shards[a.f.shard], a.f)
			}
		}
		s.young[i] = s.young[i][n:]
		if len(s.young[i]) == 0 {
			s.young[i] = nil
		}
	}
	for _, feeds := range shards {
		if len(feeds) > 0 {
			groups = append(groups, feeds)
		}
	}
	return groups
}

// sweep checks all feeds of a shard.
func (s *sweeper) sweep(ctx context.Context, shard int) {
	defer func() {
		s.mu.Lock()
		s.running[shard] = false
		s.mu.Unlock()
	}()
	look, cancel := context.WithTimeout(ctx, sweepWait)
	epoch, _, err := s.b.o.Backfill.Refresh(look, shard)
	cancel()
	if err != nil {
		s.failed(ctx, shard, "sweep", err)
		return
	}
	var feeds, patterns []*Feed
	s.b.interest.each(func(f *Feed) {
		switch {
		case f.pattern:
			patterns = append(patterns, f)
		case f.shard == shard:
			feeds = append(feeds, f)
		}
	})
	s.reposition(ctx, shard, epoch, feeds, patterns)
	s.check(ctx, shard, feeds, "sweep")
	for _, f := range patterns {
		s.checkPattern(ctx, shard, f)
	}
}

// failed plans another check soon: the broker could not be asked.
func (s *sweeper) failed(ctx context.Context, shard int, cause string, err error) {
	s.b.metrics.sweeps.WithLabelValues(cause, "failed").Inc()
	if ctx.Err() == nil {
		s.b.log.Debug("check", "shard", shard, "cause", cause, "err", err)
		s.suspect(shard, time.Second)
	}
}

// check asks for the newest publications of channels of one shard and repairs what lags behind.
func (s *sweeper) check(ctx context.Context, shard int, feeds []*Feed, cause string) {
	type state struct {
		f        *Feed
		verified uint64
	}
	states := make([]state, 0, len(feeds))
	for _, f := range feeds {
		f.mu.Lock()
		if f.stored && f.chain.flows() && !f.closed.Load() {
			states = append(states, state{f, f.chain.verified})
		}
		f.mu.Unlock()
	}
	// Those verified alike are asked for together, so that few answers are about what is known already.
	slices.SortFunc(states, func(a, b state) int { return cmp.Compare(a.verified, b.verified) })
	for len(states) > 0 {
		var topics []protocol.Topic
		size := 0
		for _, st := range states {
			if len(topics) == checkTopics || size > checkBytes {
				break
			}
			topics = append(topics, st.f.topic)
			size += 3*len(st.f.topic.Channel) + 24
		}
		batch := states[:len(topics)]
		states = states[len(topics):]
		look, cancel := context.WithTimeout(ctx, sweepWait)
		newest, through, err := s.b.o.Backfill.Moved(look, shard, topics, batch[0].verified)
		cancel()
		if err != nil {
			s.failed(ctx, shard, cause, err)
			return
		}
		s.b.metrics.sweeps.WithLabelValues(cause, "ok").Inc()
		var behind []*Feed
		for _, st := range batch {
			st.f.mu.Lock()
			if seq := newest[st.f.topic]; seq > st.f.chain.last && st.f.chain.flows() {
				behind = append(behind, st.f)
			} else {
				st.f.chain.verified = max(st.f.chain.verified, through)
			}
			st.f.mu.Unlock()
		}
		if len(behind) == 0 {
			continue
		}
		if !sleep(ctx, secondLook) {
			return
		}
		for _, f := range behind {
			f.mu.Lock()
			if seq := newest[f.topic]; f.stored && seq > f.chain.last && f.chain.flows() {
				s.b.metrics.gaps.WithLabelValues("tail").Inc()
				f.repair(&f.chain, seq)
			}
			f.mu.Unlock()
		}
	}
}

// checkPattern is check for the channels below a pattern in one shard.
func (s *sweeper) checkPattern(ctx context.Context, shard int, f *Feed) {
	f.mu.Lock()
	idle := !f.stored || f.below.holding || !f.ready.Load() || f.closed.Load()
	floor := f.below.floors[shard]
	f.mu.Unlock()
	if idle {
		return
	}
	look, cancel := context.WithTimeout(ctx, sweepWait)
	newest, through, err := s.b.o.Backfill.Moved(look, shard, []protocol.Topic{f.topic}, floor)
	cancel()
	if err != nil {
		s.failed(ctx, shard, "sweep", err)
		return
	}
	s.b.metrics.sweeps.WithLabelValues("sweep", "ok").Inc()
	if len(newest) > 0 && !sleep(ctx, secondLook) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stored || f.below.holding || f.below.floors[shard] != floor {
		return
	}
	for topic, seq := range newest {
		if !f.topic.Channel.Covers(topic.Channel) {
			continue
		}
		c := f.below.chain(f, topic.Channel, shard)
		if c == nil {
			return
		}
		if seq > c.last && c.flows() {
			s.b.metrics.gaps.WithLabelValues("tail").Inc()
			f.repair(c, seq)
		}
	}
	f.below.compact(shard, through)
}

// watchLeaders plans a check when a history stream has a new leader: what the old one had not sent yet is not
// sent again.
func (s *sweeper) watchLeaders(ctx context.Context) {
	elected := make(chan *nats.Msg, 256)
	sub, err := s.b.o.Client.Control().ChanSubscribe(leaderElected+">", elected)
	if err != nil {
		s.b.log.Warn("leader changes are not noticed", "err", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-elected:
			if shard, ok := subject.ShardOf(strings.TrimPrefix(m.Subject, leaderElected)); ok {
				s.suspect(shard, 100*time.Millisecond, time.Second)
			}
		}
	}
}
