package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/persist"
)

// leaseMarker is how long the broker keeps its note that a lease ran out.
const leaseMarker = time.Minute

// configs are the streams under the buckets. They are made as streams, because the KV API has no republish with
// message TTL but without markers: leaves are written, only leases run out.
func (d *Directory) configs() []jetstream.StreamConfig {
	persist := jetstream.DefaultPersistMode
	if d.o.Solo && d.o.Replicas == 1 {
		// Alone, everything is removed at the start anyway, and kill -9 of the process ends the sessions too: nothing
		// is gained by syncing each entry to the disk, and the disk is left to history.
		persist = jetstream.AsyncPersistMode
	}
	kv := func(name, subject, live string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name:              name,
			Subjects:          []string{subject},
			Storage:           jetstream.FileStorage,
			Replicas:          d.o.Replicas,
			MaxMsgsPerSubject: 1,
			MaxMsgs:           -1,
			MaxBytes:          -1,
			MaxMsgSize:        -1,
			MaxConsumers:      -1,
			Discard:           jetstream.DiscardNew,
			Duplicates:        2 * time.Second, // no message ids are used
			AllowRollup:       true,
			AllowDirect:       true,
			AllowMsgTTL:       true,
			DenyDelete:        true,
			PersistMode:       persist,
			RePublish:         &jetstream.RePublish{Source: subject, Destination: live + ">"},
		}
	}
	all := make([]jetstream.StreamConfig, 0, d.o.Shards+1)
	lease := kv(leaseStream, leasePrefix+">", leaseLive)
	lease.SubjectDeleteMarkerTTL = leaseMarker
	all = append(all, lease)
	for shard := range d.o.Shards {
		all = append(all, kv(stream(shard), bucketPrefix(shard)+">", livePrefix))
	}
	return all
}

// Ensure creates the buckets or brings them up to date. It may run on several gateways at once and tries again
// until ctx ends, because a cluster that is just starting refuses for a while.
func (d *Directory) Ensure(ctx context.Context) error {
	js, err := jetstream.New(d.o.Conn)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	for _, c := range d.configs() {
		try := persist.Try{
			Logger: d.o.Logger, Waiting: "presence is not ready, trying again", Attrs: []any{"stream", c.Name, "replicas", c.Replicas}, Final: permanent,
		}
		err := try.Until(ctx, func(ctx context.Context) error { return ensure(ctx, js, c) })
		if permanent(err) && d.o.Solo { // made by an older version; nothing in it is needed
			_ = js.DeleteStream(ctx, c.Name)
			err = try.Until(ctx, func(ctx context.Context) error { return ensure(ctx, js, c) })
		}
		if err != nil {
			return fmt.Errorf("ensure %s: %w", c.Name, err)
		}
	}
	return nil
}

// ensure leaves a stream alone that is as it should be: a gateway need not be allowed to change any.
func ensure(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	s, err := js.Stream(ctx, want.Name)
	if err == nil && asWanted(s.CachedInfo().Config, want) {
		return nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err //nolint:wrapcheck // Ensure adds the context
	}
	_, err = js.CreateOrUpdateStream(ctx, want)
	return err //nolint:wrapcheck // as above
}

// asWanted compares what configs sets.
func asWanted(have, want jetstream.StreamConfig) bool {
	return slices.Equal(have.Subjects, want.Subjects) && have.Storage == want.Storage && have.Replicas == want.Replicas &&
		have.MaxMsgsPerSubject == want.MaxMsgsPerSubject && have.MaxMsgs == want.MaxMsgs && have.MaxBytes == want.MaxBytes &&
		have.Discard == want.Discard && have.Duplicates == want.Duplicates && have.AllowRollup == want.AllowRollup &&
		have.AllowDirect == want.AllowDirect && have.AllowMsgTTL == want.AllowMsgTTL && have.DenyDelete == want.DenyDelete &&
		have.PersistMode == want.PersistMode && have.SubjectDeleteMarkerTTL == want.SubjectDeleteMarkerTTL &&
		have.RePublish != nil && *have.RePublish == *want.RePublish
}

const (
	errNoPeers       = 10005 // too few brokers are there, with code 400
	errInvalidConfig = 10052 // comes with code 500
)

// permanent tells errors that trying again does not cure: a configuration the broker refuses. Another gateway
// creating the same stream at the same moment is not one of them.
func permanent(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return (api.Code == 400 || api.ErrorCode == errInvalidConfig) && api.ErrorCode != jetstream.JSErrCodeStreamNameInUse && api.ErrorCode != errNoPeers
}

// wait pauses; it returns the context's error when that ends first.
func wait(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
