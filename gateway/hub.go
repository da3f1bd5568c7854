package gateway

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Hub holds the topics this node has members in, sharded by name.
type Hub struct {
	gw     *Gateway
	seed   maphash.Seed
	shards [hubShards]hubShard
	wg     sync.WaitGroup // flushes, openings and switches
	reads  reads
	// switches bounds how many feeds are being switched at once.
	switches chan struct{}

	// patterns are the pattern topics, rarely more than a few; replaced as a whole.
	patternsMu sync.Mutex
	patterns   atomic.Pointer[[]*topic]
}

const hubShards = 64

type hubShard struct {
	mu     sync.Mutex
	topics map[protocol.Topic]*topic
	// leaving are the topics whose feed is being detached, which has to end before there can be another one.
	leaving map[protocol.Topic]chan struct{}
}

// topicIdle is how long a topic without members keeps its interest and its ring: reconnecting clients find
// both still there.
const topicIdle = 10 * time.Second

// Opening a topic. A stock client whose join is refused does not ask again before it reconnects, so joins wait for
// longer than a gateway that is cut from the broker keeps its sockets (20 s), and than an election takes.
const (
	openTimeout   = 25 * time.Second
	attachTimeout = 5 * time.Second // of one attempt: a request that was on its way when the link broke is never answered
	attachPause   = 250 * time.Millisecond
)

func newHub(gw *Gateway) *Hub {
	h := &Hub{gw: gw, seed: maphash.MakeSeed(), switches: make(chan struct{}, 16)}
	h.reads = reads{hub: h, slots: make(chan struct{}, maxReads), flights: make(map[flightKey]*flight)}
	for i := range h.shards {
		h.shards[i].topics, h.shards[i].leaving = make(map[protocol.Topic]*topic), make(map[protocol.Topic]chan struct{})
	}
	h.patterns.Store(&[]*topic{})
	return h
}

func (h *Hub) shard(key protocol.Topic) *hubShard {
	return &h.shards[(maphash.String(h.seed, string(key.Channel))+uint64(key.Server))%hubShards]
}

// later runs f after wait in a goroutine of the hub. Who stops the timer, nil when f runs at once, calls wg.Done.
func (h *Hub) later(wait time.Duration, f func()) *time.Timer {
	h.wg.Add(1)
	if wait <= 0 {
		go func() {
			defer h.wg.Done()
			f()
		}()
		return nil
	}
	return time.AfterFunc(wait, func() {
		defer h.wg.Done()
		f()
	})
}

// enter gives the topic, opened, and keeps it until topic.leave. Openings are single-flight and bounded.
func (h *Hub) enter(key protocol.Topic, rule *policy.Rule) (*topic, error) {
	s := h.shard(key)
	s.mu.Lock()
	t := s.topics[key]
	if t == nil {
		t = &topic{hub: h, key: key, ready: make(chan struct{}), idle: time.Now(), load: h.gw.metrics.servers.of(key.Server)}
		t.quiet.L = &t.mu
		t.rule.Store(rule)
		t.stored = rule.History > 0
		t.followed.Store(t.stored)
		t.sizeRing(rule)
		s.topics[key] = t
		h.gw.metrics.topics.Inc()
		h.later(0, func() { h.open(t) })
	}
	t.mu.Lock()
	t.users++
	t.mu.Unlock()
	s.mu.Unlock()
	if err := t.awaitReady(); err != nil {
		t.leave()
		return nil, err
	}
	if t.err != nil {
		t.leave()
		return nil, t.err
	}
	return t, nil
}

func (t *topic) awaitReady() error {
	select {
	case <-t.ready: // the usual case, without a timer
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(t.hub.gw.ctx, openTimeout+attachTimeout)
	defer cancel()
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hub) open(t *topic) {
	if t.pattern() {
		h.addPattern(t)
	}
	for giveUp := time.Now().Add(openTimeout - attachTimeout); ; {
		if t.feed, t.err = h.attach(t); t.err == nil || time.Now().After(giveUp) || h.gw.draining.Load() {
			break
		}
		h.gw.log.Debug("channel cannot be opened yet", "channel", t.key.Channel, "err", t.err)
		pause := time.NewTimer(attachPause)
		select {
		case <-pause.C:
			continue
		case <-h.gw.ctx.Done():
			pause.Stop()
		}
		break
	}
	if t.err != nil {
		t.err = fmt.Errorf("attach %s: %w", t.key.Channel, t.err)
		h.forget(t)
	}
	close(t.ready)
}

// attach tries once to open the feed of a topic.
func (h *Hub) attach(t *topic) (Feed, error) {
	ctx, cancel := context.WithTimeout(h.gw.ctx, attachTimeout)
	defer cancel()
	if err := h.awaitLeaving(ctx, t.key); err != nil {
		return nil, err
	}
	return h.gw.broker.Attach(ctx, t.key, t.followed.Load(), t)
}

// awaitLeaving waits until an earlier topic of the name is detached.
func (h *Hub) awaitLeaving(ctx context.Context, key protocol.Topic) error {
	s := h.shard(key)
	s.mu.Lock()
	gone := s.leaving[key]
	s.mu.Unlock()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sizeRing sizes the ring for a rule; called before the topic is shared, or with t.mu held.
func (t *topic) sizeRing(rule *policy.Rule) {
	t.ring.max = 0
	if t.stored && !t.pattern() {
		t.ring.max = min(rule.History, ringPublications)
	}
}

// ringPublications is the most a ring keeps of one channel.
const ringPublications = 100

func (h *Hub) forget(t *topic) {
	s := h.shard(t.key)
	s.mu.Lock()
	if s.topics[t.key] == t {
		delete(s.topics, t.key)
		h.gw.metrics.topics.Dec()
	}
	s.mu.Unlock()
	if t.pattern() {
		h.removePattern(t)
	}
}

// find gives the topic if it is open.
func (h *Hub) find(key protocol.Topic) *topic {
	s := h.shard(key)
	s.mu.Lock()
	t := s.topics[key]
	s.mu.Unlock()
	if t == nil {
		return nil
	}
	if !t.opened() {
		return nil
	}
	return t
}

// acknowledged notes the offset of a stored publication before its sender learns of it.
func (h *Hub) acknowledged(p *protocol.Publication, r protocol.Receipt) {
	if r.Position.Offset == 0 {
		return
	}
	if t := h.find(protocol.Topic{Server: p.Server, Channel: p.Channel}); t != nil {
		t.noteAcked(r.Position.Offset)
	}
}

// each calls f for every topic that is open; f runs without the hub's locks.
func (h *Hub) each(f func(*topic)) {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		topics := make([]*topic, 0, len(s.topics))
		for _, t := range s.topics {
			topics = append(topics, t)
		}
		s.mu.Unlock()
		for _, t := range topics {
			if t.opened() {
				f(t)
			}
		}
	}
}

// sweep detaches topics that nobody has used for a while, closes views that nobody watches, and tries again what has
// not followed its rule. It looks at every topic, so a look is a few loads: most have nothing to do.
func (h *Hub) sweep(now time.Time) {
	for i := range h.shards {
		h.sweepShard(&h.shards[i], now)
	}
}

func (h *Hub) sweepShard(s *hubShard, now time.Time) {
	var gone, behind, owing []*topic
	var stops []func()
	s.mu.Lock()
	for key, t := range s.topics {
		t.mu.Lock()
		over := t.users == 0 && now.Sub(t.idle) > topicIdle && t.opened()
		stop := t.closeViewLocked(over, now)
		t.closeTapLocked(now)
		t.mu.Unlock()
		if stop != nil {
			stops = append(stops, stop)
		}
		switch {
		case over:
			delete(s.topics, key)
			s.leaving[key] = make(chan struct{})
			gone = append(gone, t)
		case t.followed.Load() != (t.rule.Load().History > 0) && t.opened():
			behind = append(behind, t)
		case t.owed.Load() && t.opened():
			owing = append(owing, t)
		}
	}
	s.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	for _, t := range behind {
		h.followHistory(t)
	}
	for _, t := range owing {
		h.followPresence(t)
	}
	for _, t := range gone {
		h.gw.metrics.topics.Dec()
		if t.pattern() {
			h.removePattern(t)
		}
		t.feed.Detach()
		s.mu.Lock()
		left := s.leaving[t.key]
		delete(s.leaving, t.key)
		s.mu.Unlock()
		close(left)
	}
}

// opened tells whether a topic is ready and works.
func (t *topic) opened() bool {
	select {
	case <-t.ready:
		return t.err == nil
	default:
		return false
	}
}

func (h *Hub) addPattern(t *topic) {
	h.patternsMu.Lock()
	defer h.patternsMu.Unlock()
	list := append(append([]*topic(nil), *h.patterns.Load()...), t)
	h.patterns.Store(&list)
}

func (h *Hub) removePattern(t *topic) {
	h.patternsMu.Lock()
	defer h.patternsMu.Unlock()
	list := make([]*topic, 0, len(*h.patterns.Load()))
	for _, p := range *h.patterns.Load() {
		if p != t {
			list = append(list, p)
		}
	}
	h.patterns.Store(&list)
}

// covering calls f for every open pattern topic that covers a channel whose rule is rule.
func (h *Hub) covering(key protocol.Topic, rule *policy.Rule, f func(*topic)) {
	for _, p := range *h.patterns.Load() {
		if p.key.Server == key.Server && sameRule(p.rule.Load(), rule) && p.key.Channel.Covers(key.Channel) {
			f(p)
		}
	}
}
