package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/persist"
	"fanfare/internal/subject"
)

// MaxPerChannel is how many messages of a channel a stream keeps: the largest history a rule can ask for.
const MaxPerChannel = 1000

// DuplicateWindow is how long the same id is stored once.
const DuplicateWindow = 30 * time.Second

// StreamConfig is how the stream of a shard is set up. Deleting single messages is denied: that history is only
// removed from its old end is what gap detection and Resume rely on.
func StreamConfig(shard, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               subject.Stream(shard),
		Description:        "Fanfare: stored publications",
		Subjects:           []string{subject.StreamSubjects(shard)},
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardOld,
		MaxMsgsPerSubject:  MaxPerChannel,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		Duplicates:         DuplicateWindow,
		AllowDirect:        true,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
		RePublish:          &jetstream.RePublish{Source: subject.StreamSubjects(shard), Destination: subject.LiveAll},
	}
}

// Ensure creates the streams and the meta bucket or brings them up to date, and learns the epochs. Several
// processes may do so at once. It tries again while the broker elects leaders, until ctx ends.
func (s *Store) Ensure(ctx context.Context) error {
	for shard := range subject.Shards {
		if err := s.persist(ctx, "stream "+subject.Stream(shard), func(ctx context.Context) error { return s.ensureStream(ctx, shard) }); err != nil {
			return err
		}
	}
	if err := s.persist(ctx, "bucket "+subject.BucketMeta, s.ensureMeta); err != nil {
		return err
	}
	for shard := range subject.Shards {
		if err := s.persist(ctx, "epoch of "+subject.Stream(shard), func(ctx context.Context) error {
			return s.refresh(ctx, shard, s.o.MayHaveLost)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) persist(ctx context.Context, what string, f func(context.Context) error) error {
	try := persist.Try{Logger: s.log, Waiting: "history is not ready, trying again", Attrs: []any{"what", what, "replicas", s.o.Replicas}}
	if err := try.Until(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ensureStream leaves a stream alone that is as it should be: a gateway need not be allowed to change any.
func (s *Store) ensureStream(ctx context.Context, shard int) error {
	want := StreamConfig(shard, s.o.Replicas)
	stream, err := s.js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if _, err = s.js.CreateStream(ctx, want); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("created by someone else meanwhile: %w", err) // look again
		}
		return err //nolint:wrapcheck // persist adds the context
	case err != nil:
		return err //nolint:wrapcheck // as above
	}
	if asWanted(stream.CachedInfo().Config, want) {
		return nil
	}
	_, err = s.js.UpdateStream(ctx, want)
	return err //nolint:wrapcheck // as above
}

// asWanted compares what this package sets.
func asWanted(have, want jetstream.StreamConfig) bool {
	return slices.Equal(have.Subjects, want.Subjects) && have.Storage == want.Storage && have.Replicas == want.Replicas &&
		have.Retention == want.Retention && have.Discard == want.Discard && have.MaxMsgsPerSubject == want.MaxMsgsPerSubject &&
		have.MaxMsgs == want.MaxMsgs && have.MaxBytes == want.MaxBytes && have.MaxAge == want.MaxAge &&
		have.Duplicates == want.Duplicates && have.AllowDirect && have.AllowMsgTTL && have.AllowAtomicPublish && have.DenyDelete &&
		have.RePublish != nil && *have.RePublish == *want.RePublish
}

func (s *Store) ensureMeta(ctx context.Context) error {
	want := jetstream.KeyValueConfig{Bucket: subject.BucketMeta, History: 1, Replicas: s.o.Replicas, Storage: jetstream.FileStorage, MaxBytes: 8 << 20}
	kv, err := s.js.KeyValue(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = s.js.CreateKeyValue(ctx, want)
		return err //nolint:wrapcheck // persist adds the context
	}
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	if status.Config().Replicas == want.Replicas {
		return nil
	}
	_, err = s.js.UpdateKeyValue(ctx, want)
	return err //nolint:wrapcheck // as above
}
