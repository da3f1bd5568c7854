package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"fanfare/broker/natsd"
	"fanfare/internal/config"
	"fanfare/internal/node"
)

func (p *program) brokerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run a NATS server with JetStream, one node of a broker cluster",
		Long: `Runs the broker that gateways share when nats.urls names it. Its own keys are those below broker: in the
configuration, and data_dir, drain (the window over which it sends its clients away after its leaders have moved) and
ops_listen. Every node has a data_dir and a broker.name of its own; broker.routes names its peers.

Without broker.passwords, broker.cluster_passwords and broker.tls anybody who reaches its ports can do anything: keep
them inside a private network then. For identities with separate permissions run stock nats-server with the
configuration in deploy/nats: gateways work with it the same.`,
		Example: `  FANFARE_BROKER_NAME=a FANFARE_BROKER_CLUSTER_LISTEN=:6222 \
    FANFARE_BROKER_ROUTES=nats://a:6222,nats://b:6222,nats://c:6222 fanfare broker`,
		Args: cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load(cmd, nil)
			if err != nil {
				return err
			}
			log := p.logger(cfg.Log)
			for _, w := range cfg.Warnings {
				log.Warn("configuration: " + w) //nolint:sloglint // the warning is the message
			}
			log.Debug("configuration", "set", cfg.LogString())
			srv, err := natsd.NewServer(natsd.ServerOptions{
				Name: cfg.Broker.Name, Listen: cfg.Broker.Listen, ClusterListen: cfg.Broker.ClusterListen, ClusterName: cfg.Broker.ClusterName,
				Routes: config.Reveal(cfg.Broker.Routes), DataDir: cfg.DataDir, Sync: cfg.Broker.Sync.String(), LameDuck: cfg.Drain, Logger: log,
				MaxStore: int64(cfg.Broker.StoreLimit), Passwords: config.RevealAll(cfg.Broker.Passwords), ClusterPasswords: config.RevealAll(cfg.Broker.ClusterPasswords),
				TLS: natsd.TLSFiles{Cert: cfg.Broker.TLS.Cert, Key: cfg.Broker.TLS.Key, CA: cfg.Broker.TLS.CA, Verify: cfg.Broker.TLS.Verify},
			})
			if err != nil {
				return fmt.Errorf("start: %w", err)
			}
			b, err := node.NewBroker(cfg, srv, node.Options{Logger: log, Version: version, Commit: commit, Stdout: p.stdout})
			if err != nil {
				return fmt.Errorf("start: %w", err)
			}
			return p.serve(cmd.Context(), b, log, nil)
		}),
	}
	configFlags(cmd)
	return cmd
}

// embedded makes the broker of a node that has it inside.
func embedded(dataDir, sync string, log *slog.Logger) (node.Embedded, error) {
	return natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dataDir, Sync: sync, Logger: log})
}
