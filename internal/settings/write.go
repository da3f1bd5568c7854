package settings

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Errors of the writes; see policy for what they mean.
var (
	ErrNotFound = policy.ErrNotFound
	ErrConflict = policy.ErrConflict
	ErrReadOnly = policy.ErrReadOnly
)

// tries is how often a write that nobody asked to be compare-and-set is tried against others.
const tries = 20

// encode gives a server's stored form.
func encode(s *policy.Server) ([]byte, error) {
	value, err := s.EncodeStored()
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	if len(value) > maxValue {
		return nil, &policy.FieldError{
			Field: "channels", Problem: fmt.Sprintf("are %d bytes as JSON, at most %d can be stored", len(value), maxValue),
		}
	}
	return value, nil
}

// decode reads a server's stored form.
func decode(id protocol.ServerID, value []byte, limits policy.Limits) (*policy.Server, error) {
	s, err := policy.DecodeStored(value, id)
	if err != nil {
		return nil, err
	}
	if s.ID != id {
		return nil, &policy.FieldError{Field: "id", Problem: fmt.Sprintf("is %d in the key of server %d", s.ID, id)}
	}
	return policy.Compile(s, limits)
}

// Create stores a new server under the number after the highest ever used, and gives it as it came into force. A
// hash and ids of rules that are missing are made up.
func (s *Store) Create(ctx context.Context, in policy.Server) (*policy.Server, error) {
	if s.ReadOnly() {
		return nil, ErrReadOnly
	}
	if in.Hash == "" {
		in.Hash = NewHash()
	}
	for range tries {
		if len(s.Current().Servers()) >= MaxServers {
			return nil, &policy.FieldError{Problem: fmt.Sprintf("there are %d realtime servers already, more are not allowed", MaxServers)}
		}
		s.mu.Lock()
		in.ID = s.state.next()
		s.mu.Unlock()
		made, err := s.store(ctx, in, 0)
		if !errors.Is(err, ErrConflict) {
			return made, err
		}
		// The number was taken meanwhile; the refresh of store knows the next.
	}
	return nil, fmt.Errorf("create server: %w", ErrConflict)
}

// Save stores a whole server by compare-and-set on expected, the revision it was read at (policy.Server.Revision),
// and gives it as it came into force.
func (s *Store) Save(ctx context.Context, in policy.Server, expected uint64) (*policy.Server, error) {
	switch {
	case s.ReadOnly():
		return nil, ErrReadOnly
	case s.Current().ByID(in.ID) == nil:
		return nil, ErrNotFound
	case expected == 0:
		return nil, ErrConflict // would create it
	}
	return s.store(ctx, in, expected)
}

// Update reads a server, lets change alter it and stores it. With expected, a revision, it is ErrConflict when that
// is no longer the newest; with 0 change is called again on the newer settings. Errors of change are returned as
// they are.
func (s *Store) Update(
	ctx context.Context, id protocol.ServerID, expected uint64, change func(*policy.Server) error,
) (*policy.Server, error) {
	if s.ReadOnly() {
		return nil, ErrReadOnly
	}
	for try := range tries {
		now := s.Current().ByID(id)
		switch {
		case now == nil:
			return nil, ErrNotFound
		case expected != 0 && expected != now.Revision:
			s.metrics.conflicts.Inc()
			return nil, ErrConflict
		}
		next := now.Clone()
		if err := change(&next); err != nil {
			return nil, err
		}
		next.ID = id
		stored, err := s.store(ctx, next, now.Revision)
		if expected != 0 || !errors.Is(err, ErrConflict) {
			return stored, err
		}
		if err := wait(ctx, try); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("update server %d: %w", id, ErrConflict)
}

// Delete removes a server. Its number is not used again. expected is as in Update.
func (s *Store) Delete(ctx context.Context, id protocol.ServerID, expected uint64) error {
	b, ok := s.source.(*bucket)
	if !ok {
		return ErrReadOnly
	}
	for try := range tries {
		now := s.Current().ByID(id)
		switch {
		case now == nil:
			return ErrNotFound
		case expected != 0 && expected != now.Revision:
			s.metrics.conflicts.Inc()
			return ErrConflict
		}
		err := b.remove(ctx, id, now.Revision)
		if expected != 0 || !errors.Is(err, ErrConflict) {
			return err
		}
		if err := wait(ctx, try); err != nil {
			return err
		}
	}
	return fmt.Errorf("delete server %d: %w", id, ErrConflict)
}

// store checks a server, writes it where the newest revision is expected (0 = there must be none) and puts it in
// force here at once, so that who wrote it also reads it.
func (s *Store) store(ctx context.Context, in policy.Server, expected uint64) (*policy.Server, error) {
	b, ok := s.source.(*bucket)
	if !ok {
		return nil, ErrReadOnly
	}
	book := s.Current()
	policy.AssignIDs(in.Channels, book.ByID(in.ID), NewRuleID)
	compiled, err := policy.Compile(in, s.o.Limits)
	if err != nil {
		return nil, err
	}
	if o := book.ByHash(compiled.Hash); o != nil && o.ID != compiled.ID {
		return nil, &policy.FieldError{Field: "hash", Problem: fmt.Sprintf("is the hash of server %d already", o.ID)}
	}
	compiled.Succeed(book.ByID(in.ID), time.Now())
	value, err := encode(compiled)
	if err != nil {
		return nil, err
	}
	revision, err := b.put(ctx, compiled.ID, value, expected)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.state.put(revision, compiled) {
		s.swapLocked()
	}
	s.mu.Unlock()
	if now := s.Current().ByID(in.ID); now != nil && now.Revision == revision {
		return now, nil
	}
	compiled.Revision = revision // the watch, or a later write, was faster
	return compiled, nil
}

// put writes a value by compare-and-set.
func (b *bucket) put(ctx context.Context, id protocol.ServerID, value []byte, expected uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	var revision uint64
	if expected == 0 {
		revision, err = kv.Create(ctx, key(id), value)
	} else {
		revision, err = kv.Update(ctx, key(id), value, expected)
	}
	if err != nil {
		return 0, b.writeError(ctx, id, err)
	}
	return revision, nil
}

// remove deletes a value by compare-and-set.
func (b *bucket) remove(ctx context.Context, id protocol.ServerID, expected uint64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	if err = kv.Delete(ctx, key(id), jetstream.LastRevision(expected)); err != nil {
		return b.writeError(ctx, id, err)
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	// The marker's revision is not told; it is at least this, and the watch brings it.
	if b.store.state.remove(id, expected+1) {
		b.store.swapLocked()
	}
	return nil
}

// writeError tells a lost race from a broker out of reach. After a lost race the newer value is fetched, so that a
// next try starts from it.
func (b *bucket) writeError(ctx context.Context, id protocol.ServerID, err error) error {
	if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return fmt.Errorf("store server %d: %w", id, err)
	}
	b.store.metrics.conflicts.Inc()
	if kv, openErr := b.open(ctx); openErr == nil {
		if e, getErr := kv.Get(ctx, key(id)); getErr == nil {
			b.apply(e)
		}
	}
	return fmt.Errorf("store server %d: %w", id, ErrConflict)
}

// wait lets somebody else finish: longer with every try, and not in step with others.
func wait(ctx context.Context, try int) error {
	longest := min(5*time.Millisecond<<try, 200*time.Millisecond)
	t := time.NewTimer(rand.N(longest) + time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("store settings: %w", ctx.Err())
	case <-t.C:
		return nil
	}
}
