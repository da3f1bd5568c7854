package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fanfare/internal/node"
)

func (p *program) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Move histories and settings from an embedded broker to a cluster",
		Long: `Copies histories and settings from data_dir, the store of a gateway with an embedded broker that has been
stopped, to the broker cluster at nats.urls. Offsets stay, so clients resume as if nothing had happened. The source
stays as it is. The cluster must not have histories yet: run this before any gateway is started on it.`,
		Example: `  fanfare migrate --data-dir ./fanfare-data --nats-urls nats://a:4222,nats://b:4222,nats://c:4222`,
		Args:    cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load(cmd, nil)
			if err != nil {
				return err
			}
			if cfg.NATS.Embedded() {
				return usageError{errors.New("nats.urls is not set: there is no cluster to move to")}
			}
			if err := node.Migrate(cmd.Context(), cfg, embedded, p.logger(cfg.Log)); err != nil {
				return fmt.Errorf("migrate: %w", err)
			}
			return nil
		}),
	}
	configFlags(cmd)
	return cmd
}
