package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare/broker"
	"fanfare/history"
	"fanfare/internal/config"
	"fanfare/internal/subject"
)

// migrateTimeout bounds a migration.
const migrateTimeout = 6 * time.Hour

// Migrate copies histories and settings from the store of an embedded broker, which no process may be using, to the
// cluster that the configuration names, with offsets and epochs: clients resume as if nothing had happened. The
// source stays as it is. The cluster must not have any of it yet.
func Migrate(ctx context.Context, cfg config.Config, open NewEmbedded, log *slog.Logger) error {
	if cfg.NATS.Embedded() {
		return errors.New("nats.urls is not set: there is no cluster to move to")
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	embedded, err := open(cfg.DataDir, cfg.Broker.Sync.String(), log)
	if err != nil {
		return err
	}
	if err := embedded.Start(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer embedded.Close()
	from, err := broker.Connect(ctx, broker.ConnectOptions{InProcess: embedded, Name: "fanfare migrate", Logger: log})
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer from.Close()
	dialCtx, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	to, err := connect(dialCtx, cfg, nil, "fanfare migrate", log)
	if err != nil {
		return err
	}
	defer to.Close()
	source, err := history.New(history.Options{Control: from.Control(), Reads: from.Reads(), Replicas: 1, Logger: log, MayHaveLost: embedded.MayHaveLost()})
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := source.Ensure(ctx); err != nil { // brings the epochs up to date
		return fmt.Errorf("source: %w", err)
	}
	if err := copyStreams(ctx, from, to, cfg.NATS.Replicas, log); err != nil {
		return err
	}
	target, err := history.New(history.Options{Control: to.Control(), Reads: to.Reads(), Replicas: cfg.NATS.Replicas, Logger: log})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := target.Ensure(ctx); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := target.MovedFrom(ctx, source); err != nil {
		return fmt.Errorf("epochs: %w", err)
	}
	log.Info("everything is in the cluster; presence is made anew by the gateways")
	return nil
}

// copyStreams copies the settings, where they are kept in the broker, and all histories.
func copyStreams(ctx context.Context, from, to *broker.Client, replicas int, log *slog.Logger) error {
	var names []string
	switch has, err := broker.HasStream(ctx, from.Control(), "KV_"+subject.BucketSettings); {
	case err != nil:
		return err
	case has:
		names = append(names, "KV_"+subject.BucketSettings)
	default:
		log.Info("the broker has no settings: take the settings_file along")
	}
	for shard := range subject.Shards {
		names = append(names, subject.Stream(shard))
	}
	for _, name := range names {
		begun := time.Now()
		if err := broker.CopyStream(ctx, from.Control(), to.Control(), name, replicas); err != nil {
			return err
		}
		log.Info("copied", "stream", name, "duration", time.Since(begun).Round(time.Millisecond))
	}
	return nil
}
