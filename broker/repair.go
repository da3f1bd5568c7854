package broker

import (
	"context"
	"sync"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Bounds of repairs.
const (
	maxRepairs  = 64          // at once; the others wait
	repairPage  = 256         // publications read at once
	repairWait  = time.Second // how long a replica that lags is asked before its leader
	maxWait     = 500 * time.Millisecond
	repairReads = 5 * time.Second // one read
)

// repairs runs the repairs that are due, a bounded number at once. Each chain is in it at most once.
type repairs struct {
	b *Broker

	mu      sync.Mutex // guards what follows; taken under a feed's mu
	ctx     context.Context
	waiting []repairJob
	workers int
	group   sync.WaitGroup
}

type repairJob struct {
	f *Feed
	c *chain
}

// run lets repairs work until ctx ends.
func (r *repairs) run(ctx context.Context) {
	r.mu.Lock()
	r.ctx = ctx
	for range min(len(r.waiting), maxRepairs) {
		r.startLocked()
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.group.Wait()
}

func (r *repairs) add(f *Feed, c *chain) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, repairJob{f, c})
	if r.ctx != nil && r.workers < maxRepairs {
		r.startLocked()
	}
}

func (r *repairs) startLocked() {
	ctx := r.ctx
	r.workers++
	r.group.Go(func() {
		for {
			r.mu.Lock()
			if len(r.waiting) == 0 || ctx.Err() != nil {
				r.workers--
				r.mu.Unlock()
				return
			}
			job := r.waiting[0]
			r.waiting = r.waiting[1:]
			r.mu.Unlock()
			r.repair(ctx, job.f, job.c)
		}
	})
}

// repair reads what a chain misses until nothing is left to do.
func (r *repairs) repair(ctx context.Context, f *Feed, c *chain) {
	m := r.b.metrics
	topic := protocol.Topic{Server: f.topic.Server, Channel: c.channel}
	var stalled time.Time // since when reads bring nothing
	wait := 2 * time.Millisecond
	for work := false; ; {
		f.mu.Lock()
		var upTo uint64
		off := c.holding || !f.stored || f.closed.Load() || ctx.Err() != nil
		if !off {
			upTo = f.settle(c)
		}
		if upTo == 0 {
			c.job, c.repairing = false, false
			f.mu.Unlock()
			if work {
				m.repaired.Inc()
			}
			return
		}
		last := c.last
		f.mu.Unlock()

		progress, beyond, err := r.read(ctx, f, c, topic, last, upTo)
		if progress {
			work, stalled, wait = true, time.Time{}, 2*time.Millisecond
			continue
		}
		if stalled.IsZero() {
			stalled = time.Now()
		}
		switch {
		case err != nil:
			r.b.log.Debug("repair", "channel", c.channel, "err", err)
		case !beyond && time.Since(stalled) < repairWait:
			m.stale.Inc()
		default: // what is behind the hole is there, or the replica had its time: the leader decides
			var lost bool
			if lost, err = r.judge(ctx, f, c, topic, last, upTo); lost {
				m.unrepaired.Inc()
				stalled = time.Time{}
				continue
			}
			if err == nil {
				work = true
				continue
			}
		}
		if !sleep(ctx, wait) {
			continue
		}
		wait = min(2*wait, maxWait)
	}
}

// read delivers what follows last. beyond tells that the replica has publications behind the hole, but none in it.
//
// It asks from the publication last itself on: when the answer begins with it, nothing behind it was removed from
// the stream. Otherwise something may have been, and that is told.
func (r *repairs) read(ctx context.Context, f *Feed, c *chain, topic protocol.Topic, last, upTo uint64) (progress, beyond bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairReads)
	defer cancel()
	pubs, _, err := r.b.o.Backfill.After(ctx, topic, c.shard, max(last, 1)-1, repairPage)
	if err != nil {
		return false, false, err
	}
	anchored := len(pubs) > 0 && sequence(pubs[0]) == last
	if anchored {
		pubs = pubs[1:]
	}
	switch {
	case len(pubs) == 0:
		return false, false, nil
	case sequence(pubs[0]) > upTo:
		return false, true, nil
	}
	progress, err = r.recover(ctx, f, c, pubs, anchored, last, upTo)
	return progress, false, err
}

// judge asks the leader for what follows last; lost tells that the hole cannot be filled.
func (r *repairs) judge(ctx context.Context, f *Feed, c *chain, topic protocol.Topic, last, upTo uint64) (lost bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairReads)
	defer cancel()
	p, err := r.b.o.Backfill.LeaderNext(ctx, topic, c.shard, max(last, 1)-1)
	anchored := p != nil && sequence(p) == last
	if anchored && err == nil {
		p, err = r.b.o.Backfill.LeaderNext(ctx, topic, c.shard, last)
	}
	if err != nil {
		return false, err
	}
	if p != nil && sequence(p) <= upTo {
		_, err = r.recover(ctx, f, c, []*protocol.Publication{p}, anchored, last, upTo)
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.last != last || c.holding || !f.stored || f.closed.Load() {
		return false, nil
	}
	c.last = upTo
	f.sink.Gap(c.channel, subject.Offset(c.shard, last), subject.Offset(c.shard, upTo))
	return true, nil
}

// recover delivers publications read from the stream, up to the end of the hole. What is held comes by itself.
func (r *repairs) recover(ctx context.Context, f *Feed, c *chain, pubs []*protocol.Publication, anchored bool, last, upTo uint64) (progress bool, err error) {
	if !anchored { // last is gone or was no message of this channel: a position
		if anchored, err = r.b.o.Backfill.Untouched(ctx, c.shard, last); err != nil {
			return false, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.last != last || c.holding || !f.stored || f.closed.Load() {
		return true, nil // the next round sees
	}
	if !anchored {
		r.b.metrics.unrepaired.Inc()
		f.sink.Gap(c.channel, subject.Offset(c.shard, last), subject.Offset(c.shard, sequence(pubs[0])-1))
	}
	for _, p := range pubs {
		seq := sequence(p)
		if seq <= c.last || seq > upTo {
			continue
		}
		c.last = seq
		f.deliver(p)
		r.b.metrics.recovered.Inc()
		progress = true
	}
	return progress, nil
}

func sequence(p *protocol.Publication) uint64 {
	_, seq := subject.SplitOffset(p.Offset)
	return seq
}

// sleep waits; false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
