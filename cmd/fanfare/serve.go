package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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
	n, err := node.New(cfg, node.Options{Logger: log, Dev: dev, Version: version, Commit: commit, Stdout: p.stdout, Embedded: embedded})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	return n, nil
}

// runner is what serve runs: a *node.Node, or a test's.
type runner interface {
	Run(ctx context.Context) error
	Addr() string
	Ready() bool
}

// errSecondSignal ends the process while the drain still goes on.
var errSecondSignal = errors.New("second signal: ended at once, clients were cut off")

// sameSignal is within which two signals count as one: timeout(1) and others signal a process and its group.
const sameSignal = 100 * time.Millisecond

// serve runs r until it ends. The first signal lets it drain; a second one does not wait for that, and leaves
// r's goroutines to the end of the process. up is called when r is ready; nil = never.
func (p *program) serve(ctx context.Context, r runner, log *slog.Logger, up func(addr string)) error {
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()

	ready := make(chan string, 1)
	if up != nil {
		go waitReady(ctx, r, ready)
	}
	var first time.Time
	for {
		select {
		case addr := <-ready:
			up(addr)
		case sig := <-p.signals:
			switch {
			case first.IsZero():
				first = time.Now()
				log.Info("stopping; a second signal ends at once", "reason", sig.String())
				drain()
			case time.Since(first) > sameSignal:
				return errSecondSignal
			}
		case err := <-ended:
			return err
		}
	}
}
