package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"fanfare/broker"
	"fanfare/history"
	"fanfare/internal/config"
)

// Backup copies histories and settings of the cluster that the configuration names into dir, which must be empty, as
// the store of an embedded broker: Migrate puts them into an empty cluster again. The cluster goes on meanwhile; each
// stream is copied as it was at some moment. The copies have epochs of their own, because what was written behind that
// moment is not in them: clients that saw it are told that their resume cannot be proved whole.
func Backup(ctx context.Context, cfg config.Config, dir string, open NewEmbedded, log *slog.Logger) error {
	if cfg.NATS.Embedded() {
		return errors.New("nats.urls is not set: the store of an embedded broker is copied as files, while it is stopped")
	}
	switch entries, err := os.ReadDir(dir); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory of the backup: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: a backup wants a directory of its own", dir)
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	dialCtx, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	from, err := connect(dialCtx, cfg, nil, "fanfare backup", log)
	if err != nil {
		return err
	}
	defer from.Close()
	embedded, err := open(dir, cfg.Broker.Sync.String(), log)
	if err != nil {
		return err
	}
	if err := embedded.Start(ctx); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer embedded.Close()
	to, err := broker.Connect(ctx, broker.ConnectOptions{InProcess: embedded, Name: "fanfare backup", Logger: log})
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer to.Close()
	if err := copyStreams(ctx, from, to, 1, log); err != nil {
		return err
	}
	target, err := history.New(history.Options{Control: to.Control(), Reads: to.Reads(), Replicas: 1, Logger: log})
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := target.Ensure(ctx); err != nil { // new epochs
		return fmt.Errorf("backup: %w", err)
	}
	log.Info("histories and settings are in the backup", "dir", dir)
	return nil
}
