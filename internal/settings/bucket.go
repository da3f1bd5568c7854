package settings

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/persist"
	"fanfare/internal/policy"
	"fanfare/protocol"
)

const (
	bucketName    = "fanfare_settings"
	bucketHistory = 16
	keyPrefix     = "server."
	// maxValue keeps a value below NATS' default limit of 1 MiB for a message, its headers included.
	maxValue = 1<<20 - 16<<10

	firstServer     = 1
	firstServerName = "Workspace 1"

	defaultBucketCheck = 5 * time.Second
	// callTimeout bounds one call to the broker; an election takes up to 9 s.
	callTimeout = 12 * time.Second
	// checkTimeout bounds a question that is asked again soon.
	checkTimeout = 2 * time.Second
	retryFirst   = 100 * time.Millisecond
	retryMost    = 5 * time.Second
)

// bucket is the KV bucket as source.
type bucket struct {
	store *Store
	js    jetstream.JetStream

	mu sync.Mutex
	kv jetstream.KeyValue // nil until first used

	// incarnation is when the bucket's stream was made; load uses it, then run.
	incarnation time.Time
	// anew: the bucket is another one than before, and has not yet shown anything; only run uses it.
	anew bool
}

func newBucket(s *Store) (*bucket, error) {
	js, err := jetstream.New(s.o.Conn, jetstream.WithDefaultTimeout(callTimeout))
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return &bucket{store: s, js: js}, nil
}

func key(id protocol.ServerID) string { return keyPrefix + strconv.FormatInt(int64(id), 10) }

// idOf reads a key; only what key writes is one.
func idOf(k string) (protocol.ServerID, bool) {
	text, ok := strings.CutPrefix(k, keyPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	id := protocol.ServerID(n)
	return id, err == nil && n > 0 && key(id) == k
}

func (b *bucket) config() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:       bucketName,
		Description:  "Fanfare: realtime servers and channel rules",
		History:      bucketHistory,
		Storage:      jetstream.FileStorage,
		Replicas:     b.store.o.Replicas,
		MaxValueSize: 1 << 20,
	}
}

// open gives the bucket, which must exist.
func (b *bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	kv := b.kv
	b.mu.Unlock()
	if kv != nil {
		return kv, nil
	}
	kv, err := b.js.KeyValue(ctx, bucketName)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucketName, err)
	}
	b.mu.Lock()
	b.kv = kv
	b.mu.Unlock()
	return kv, nil
}

func (b *bucket) ensure(ctx context.Context) error { return b.persist(ctx, b.ensureOnce) }

// persist repeats f while the broker does not answer or has no leader, until ctx ends.
func (b *bucket) persist(ctx context.Context, f func(context.Context) error) error {
	try := persist.Try{
		Logger: b.store.log, Waiting: "settings: the broker is not ready, trying again", Attrs: []any{"replicas", b.store.o.Replicas},
		Final: func(err error) bool { return !passing(err) },
	}
	return try.Until(ctx, f)
}

// errNoPeers is told while too few brokers are there.
const errNoPeers = 10005

// passing tells errors that another attempt may cure.
func passing(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == 503 || api.ErrorCode == errNoPeers
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, errWatchEnded)
}

func (b *bucket) ensureOnce(ctx context.Context) error {
	kv, err := b.js.KeyValue(ctx, bucketName)
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound):
		kv, err = b.js.CreateKeyValue(ctx, b.config())
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = b.js.KeyValue(ctx, bucketName) // another node was first, with other replicas
		}
		if err != nil {
			return fmt.Errorf("make bucket %s: %w", bucketName, err)
		}
	case err != nil:
		return fmt.Errorf("open bucket %s: %w", bucketName, err)
	default:
		b.adjust(ctx, kv)
	}
	b.mu.Lock()
	b.kv = kv
	b.mu.Unlock()
	return b.ensureFirst(ctx, kv)
}

// adjust changes the number of replicas when the configuration has another. The bucket works as it is, so a broker
// that cannot do it (too few nodes yet) keeps nobody from starting.
func (b *bucket) adjust(ctx context.Context, kv jetstream.KeyValue) {
	status, err := kv.Status(ctx)
	if err == nil && status.Config().Replicas != b.store.o.Replicas {
		_, err = b.js.UpdateKeyValue(ctx, b.config())
	}
	if err != nil {
		b.store.log.Warn("settings: replicas of the bucket could not be changed", "replicas", b.store.o.Replicas, "err", err)
	}
}

// ensureFirst makes server 1 in a bucket that never held anything: one that was deleted on purpose stays deleted.
func (b *bucket) ensureFirst(ctx context.Context, kv jetstream.KeyValue) error {
	status, err := kv.Status(ctx)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", bucketName, err)
	}
	if status.Values() > 0 {
		return nil
	}
	first := policy.Server{ID: firstServer, Name: firstServerName, Hash: NewHash()}
	value, err := encode(&first)
	if err != nil {
		return err
	}
	if _, err = kv.Create(ctx, key(firstServer), value); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("store server %d: %w", firstServer, err)
	}
	return nil
}

// applyLocked takes one value of the bucket over. The store's lock is held.
func (b *bucket) applyLocked(e jetstream.KeyValueEntry) bool {
	s := b.store
	id, ok := idOf(e.Key())
	if !ok {
		s.log.Warn("settings: key in the bucket is not one of ours", "key", e.Key())
		return false
	}
	if e.Operation() != jetstream.KeyValuePut {
		return s.state.remove(id, e.Revision())
	}
	if e.Revision() <= s.state.newest(id) {
		return false
	}
	server, err := decode(id, e.Value(), s.o.Limits)
	if err != nil {
		s.metrics.invalid.Inc()
		s.log.Error("settings: stored value is invalid; the previous one stays in force",
			"server", id, "revision", e.Revision(), "err", err)
		return s.state.spoil(id, e.Revision())
	}
	return s.state.put(e.Revision(), server)
}

// apply takes values over and puts the result in force.
func (b *bucket) apply(entries ...jetstream.KeyValueEntry) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	changed := false
	for _, e := range entries {
		if b.applyLocked(e) {
			changed = true
		}
	}
	if changed {
		b.store.swapLocked()
	}
}

// reset forgets revisions: the bucket was made anew and counts from the start. What is in force stays so until the
// new bucket has something to put in its place.
func (b *bucket) reset() {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for _, e := range b.store.state.entries {
		e.revision = 0
	}
	b.anew = true
}

// prune drops what reset kept and the new bucket turned out not to have. An empty one is no reason to: it is about
// to be filled.
func (b *bucket) prune() {
	if !b.anew {
		return
	}
	b.anew = false
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	dropped := false
	for id, e := range b.store.state.entries {
		if e.revision == 0 {
			delete(b.store.state.entries, id)
			dropped = true
		}
	}
	if dropped {
		b.store.swapLocked()
	}
}
