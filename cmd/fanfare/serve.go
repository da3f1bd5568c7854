package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
	"fanfare/internal/node"
)

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a gateway: embedded broker, or an external one when nats.urls is set",
		Args:  cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load(cmd, nil)
			if err != nil {
				return err
			}
			log := p.logger(cfg.Log)
			n, err := p.build(cfg, log, false)
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), n, log, nil)
		}),
	}
	configFlags(cmd)
	return cmd
}

// build makes the node and logs what it was made from.
func (p *program) build(cfg config.Config, log *slog.Logger, dev bool) (*node.Node, error) {
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w) //nolint:sloglint // the warning is the message
	}
	log.Debug("configuration", "set", cfg.LogString())
	n, err := node.New(cfg, node.Options{Logger: log, Dev: dev, Version: version, Stdout: p.stdout})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	return n, nil
}

// runner is what serve runs: a *node.Node, or a test's.
type runner interface {
	Run(ctx context.Context) error
	Addr() string
}

// errSecondSignal ends the process while the drain still goes on.
var errSecondSignal = errors.New("second signal: ended at once, clients were cut off")

// serve runs r until it ends. The first signal lets it drain; a second one does not wait for that, and leaves
// r's goroutines to the end of the process. up is called when r listens; nil = never.
func (p *program) serve(ctx context.Context, r runner, log *slog.Logger, up func(addr string)) error {
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()

	listening := make(chan string, 1)
	if up != nil {
		go waitListening(ctx, r, listening)
	}
	for {
		select {
		case addr := <-listening:
			up(addr)
		case sig := <-p.signals:
			if ctx.Err() != nil {
				return errSecondSignal
			}
			log.Info("draining; a second signal ends at once", "reason", sig.String())
			drain()
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		}
	}
}
