package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fanfare/internal/node"
)

func (p *program) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Copy histories and settings of a broker cluster into a directory",
		Long: `Copies histories and settings of the broker cluster at nats.urls into an empty directory, while everything goes on.
'fanfare migrate --data-dir DIRECTORY' puts them into an empty cluster again, and 'fanfare serve --data-dir DIRECTORY' serves
them. After a restore clients that saw something newer than the backup are told that their resume is not whole.`,
		Example: `  fanfare backup --to /backup/2026-11-22 --nats-urls nats://a:4222,nats://b:4222,nats://c:4222`,
		Args:    cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load(cmd, nil)
			if err != nil {
				return err
			}
			to := text(cmd, "to")
			switch {
			case to == "":
				return usageError{errors.New("--to is needed: the directory of the backup")}
			case cfg.NATS.Embedded():
				return usageError{errors.New("nats.urls is not set: stop the gateway and copy its data_dir instead")}
			}
			if err := node.Backup(cmd.Context(), cfg, to, embedded, p.logger(cfg.Log)); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			return nil
		}),
	}
	configFlags(cmd)
	cmd.Flags().String("to", "", "directory of the backup; it must be empty or not there")
	return cmd
}
