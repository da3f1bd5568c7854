package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	errWatchEnded = errors.New("the watch ended")
	errWatchStale = errors.New("the watch missed a change")
)

// load reads the bucket.
func (b *bucket) load(ctx context.Context) error { return b.persist(ctx, b.loadOnce) }

func (b *bucket) loadOnce(ctx context.Context) error {
	kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	if _, err = b.position(ctx, kv); err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", bucketName, err)
	}
	defer stop(w)
	if err := b.snapshot(ctx, w); err != nil {
		return err
	}
	b.recover(ctx, kv)
	return nil
}

// recover looks for the last valid value of servers whose newest one is invalid, so that a node that starts after
// such an accident has the same settings in force as those that saw the value before it.
func (b *bucket) recover(ctx context.Context, kv jetstream.KeyValue) {
	s := b.store
	s.mu.Lock()
	lost := s.state.lost()
	s.mu.Unlock()
	for _, id := range lost {
		values, err := kv.History(ctx, key(id))
		if err != nil {
			s.log.Warn("settings: earlier values cannot be read", "server", id, "err", err)
			continue
		}
		for _, v := range slices.Backward(values) { // the newest first
			if v.Operation() != jetstream.KeyValuePut {
				break // what was before a deletion is gone for good
			}
			server, err := decode(id, v.Value(), s.o.Limits)
			if err != nil {
				continue
			}
			s.mu.Lock()
			if s.state.recover(server) {
				s.log.Warn("settings: an earlier value is in force", "server", id, "revision", v.Revision())
				s.swapLocked()
			}
			s.mu.Unlock()
			break
		}
	}
}

// snapshot takes over everything a new watch tells up to its marker, as one change.
func (b *bucket) snapshot(ctx context.Context, w jetstream.KeyWatcher) error {
	var entries []jetstream.KeyValueEntry
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("read bucket %s: %w", bucketName, ctx.Err())
		case e, open := <-w.Updates():
			switch {
			case !open:
				return errWatchEnded
			case e == nil:
				b.apply(entries...)
				return nil
			}
			entries = append(entries, e)
		}
	}
}

// run keeps a watch on the bucket. The watch itself survives reconnects; what it may miss (a bucket made anew, a
// consumer lost for good) is found by asking now and then, and answered by a new watch.
func (b *bucket) run(ctx context.Context) error {
	pause := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := b.watch(ctx)
		if ctx.Err() != nil {
			break
		}
		b.store.metrics.restarts.Inc()
		if errors.Is(err, errWatchStale) || time.Since(began) > retryMost {
			pause = retryFirst
		}
		b.store.log.Warn("settings: watching again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, retryMost)
	}
	return nil
}

// watch follows one watch to its end.
func (b *bucket) watch(ctx context.Context) error {
	kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	end, err := b.position(ctx, kv)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", bucketName, err)
	}
	defer stop(w)
	first, cancel := context.WithTimeout(ctx, callTimeout)
	err = b.snapshot(first, w)
	cancel()
	if err != nil {
		return err
	}
	if end > 0 {
		b.prune()
	}
	b.recover(ctx, kv)
	// A connection that came back may have lost what the watch is made of: a new one at once is simpler than to wait
	// until that shows.
	back := b.store.o.Conn.StatusChanged(nats.CONNECTED)
	defer b.store.o.Conn.RemoveStatusListener(back)
	interval := b.store.o.CheckInterval
	if interval == 0 {
		interval = defaultBucketCheck
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var behind uint64 // the end of the bucket at the last check, when the watch was not there yet
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-w.Updates():
			switch {
			case !open:
				return errWatchEnded
			case e != nil:
				b.apply(e)
				b.prune()
			}
		case _, open := <-back:
			if open {
				return errWatchStale
			}
			back = nil
		case <-tick.C:
			if behind, err = b.check(ctx, kv, behind); err != nil {
				return err
			}
		}
	}
}

// check compares the end of the bucket with what is known. One that is ahead now may be on its way; one that was
// ahead at the last check already was missed.
func (b *bucket) check(ctx context.Context, kv jetstream.KeyValue, behind uint64) (uint64, error) {
	made := b.incarnation
	end, err := b.position(ctx, kv)
	if err != nil {
		// No broker just now: the watch goes on when it is back, and the next check tells.
		if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, err
		}
		return behind, nil
	}
	known := b.known()
	switch {
	case !made.Equal(b.incarnation):
		return 0, errWatchStale
	case behind > 0 && known < behind:
		return 0, errWatchStale
	case known < end:
		return end, nil
	}
	return 0, nil
}

// position gives the end of the bucket, and notes when the bucket is another one than before.
func (b *bucket) position(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	status, err := kv.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("read bucket %s: %w", bucketName, err)
	}
	stream, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, nil
	}
	info := stream.StreamInfo()
	if !b.incarnation.IsZero() && !b.incarnation.Equal(info.Created) {
		b.store.log.Error("settings: the bucket was made anew")
		b.reset()
	}
	b.incarnation = info.Created
	return info.State.LastSeq, nil
}

// known gives the newest revision of any key.
func (b *bucket) known() uint64 {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	var newest uint64
	for _, e := range b.store.state.entries {
		newest = max(newest, e.revision)
	}
	return newest
}

// stop ends a watch and takes what it still wants to hand over, or its goroutine would wait for ever.
func stop(w jetstream.KeyWatcher) {
	_ = w.Stop() // an error means that the connection is gone, and the watch with it
	limit := time.NewTimer(time.Second)
	defer limit.Stop()
	for {
		select {
		case _, open := <-w.Updates():
			if !open {
				return
			}
		case <-limit.C:
			return
		}
	}
}
