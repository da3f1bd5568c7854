package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/protocol"
)

// Webhook is an address that gets a server's events.
type Webhook struct {
	Server protocol.ServerID
	URL    string
}

// Delivery is what an address gets in one call. ID names its first and last event: the same events sent again have
// the same one.
type Delivery struct {
	ID      string
	Entries []Entry
	Next    string
	// Restart: events before these are no longer kept. What is known is to be forgotten.
	Restart bool
}

const (
	cursorBucket = "fanfare_lifecycle_cursors"
	maxWorkers   = 256 // addresses served at a time
	deliverMost  = 100 // events in a call
	deliverWait  = 20 * time.Second
	retryFirst   = 500 * time.Millisecond
	retryMost    = time.Minute
)

func (w Webhook) key() string {
	sum := sha256.Sum256([]byte(w.URL))
	return strconv.FormatInt(int64(w.Server), 10) + "." + hex.EncodeToString(sum[:12])
}

// deliver serves the webhooks while this gateway is the keeper.
func (l *Log) deliver(ctx context.Context) {
	if l.o.Deliver == nil || l.o.Webhooks == nil {
		return
	}
	workers := map[Webhook]context.CancelFunc{}
	var group sync.WaitGroup
	defer group.Wait()
	tick := time.NewTicker(l.o.Tick)
	defer tick.Stop()
	for {
		wanted := map[Webhook]bool{}
		if l.o.Keeper() {
			for _, w := range l.o.Webhooks() {
				if len(wanted) < maxWorkers {
					wanted[w] = true
				}
			}
		}
		for w, end := range workers {
			if !wanted[w] {
				end()
				delete(workers, w)
			}
		}
		for w := range wanted {
			if workers[w] == nil {
				own, end := context.WithCancel(ctx)
				workers[w] = end
				group.Go(func() { l.serve(own, w) })
			}
		}
		select {
		case <-ctx.Done():
			for _, end := range workers {
				end()
			}
			return
		case <-tick.C:
		}
	}
}

// serve delivers to one address until ctx ends, going on where the last gateway was. A failed call is repeated with
// growing pauses; nothing is left out.
func (l *Log) serve(ctx context.Context, w Webhook) {
	pause := retryFirst
	for ctx.Err() == nil {
		err := l.serveOnce(ctx, w, func() { pause = retryFirst })
		if err != nil && ctx.Err() == nil {
			l.metrics.undelivered.Inc()
			l.log.Debug("lifecycle events not delivered yet", "server", int64(w.Server), "err", err)
			wait(ctx, pause)
			pause = min(2*pause, retryMost)
		}
	}
}

// serveOnce delivers until something fails. Its place is kept in a bucket by compare and set: when two gateways
// deliver for a moment, one of them notices, and the address gets some events twice.
func (l *Log) serveOnce(ctx context.Context, w Webhook, went func()) error {
	kv, err := l.js.KeyValue(ctx, cursorBucket)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", cursorBucket, err)
	}
	var at string
	var revision uint64
	switch kept, err := kv.Get(ctx, w.key()); {
	case err == nil:
		at, revision = string(kept.Value()), kept.Revision()
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("cursor of a webhook: %w", err)
	}
	restart := false
	for {
		patient, cancel := context.WithTimeout(ctx, deliverWait)
		entries, next, err := l.Read(patient, w.Server, at, deliverMost, true)
		cancel()
		switch {
		case errors.Is(err, ErrCursorExpired):
			at, restart = "", true
			continue
		case errors.Is(err, ErrCursor):
			at = ""
			continue
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case len(entries) == 0:
			continue
		}
		d := Delivery{
			Entries: entries, Next: next, Restart: restart,
			ID: fmt.Sprintf("lifecycle_%d_%s_%s", w.Server, entries[0].Cursor, next),
		}
		if err := l.o.Deliver(ctx, w, d); err != nil {
			return err
		}
		if revision, err = kv.Update(ctx, w.key(), []byte(next), revision); err != nil {
			return fmt.Errorf("cursor of a webhook: %w", err)
		}
		at, restart = next, false
		l.metrics.delivered.Add(float64(len(entries)))
		went()
	}
}
