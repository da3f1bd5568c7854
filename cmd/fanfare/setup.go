package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fanfare/internal/node"
)

func (p *program) setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make the streams of a broker cluster, for gateways that are not allowed to",
		Long: `Makes the streams and buckets that gateways share over the broker at nats.urls, or brings them up to date, and
ends. It may be run again at any time. Gateways do the same at their start; run this with other credentials where
theirs shall not allow it.`,
		Args: cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load(cmd, nil)
			if err != nil {
				return err
			}
			if cfg.NATS.Embedded() {
				return usageError{errors.New("nats.urls is not set: an embedded broker needs no setup")}
			}
			if err := node.Setup(cmd.Context(), cfg, p.logger(cfg.Log)); err != nil {
				return fmt.Errorf("setup: %w", err)
			}
			return nil
		}),
	}
	configFlags(cmd)
	return cmd
}
