package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"

	"fanfare/broker"
	"fanfare/history"
	"fanfare/internal/config"
	"fanfare/internal/policy"
	"fanfare/internal/settings"
	"fanfare/lifecycle"
	"fanfare/presence"
	"fanfare/protocol"
)

// presenceShards is how many buckets the presence of a cluster is spread over.
const presenceShards = 4

// Setup makes the streams and buckets of a cluster, or brings them up to date, and ends: for operators who do not
// let gateways do it.
func Setup(ctx context.Context, cfg config.Config, log *slog.Logger) (failed error) {
	if cfg.NATS.Embedded() {
		return errors.New("nats.urls is not set: an embedded broker needs no setup")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := connect(ctx, cfg, nil, "fanfare setup", log)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, explain := untilDenied(ctx, client)
	defer explain(&failed)
	store, err := history.New(history.Options{Control: client.Control(), Reads: client.Reads(), Replicas: cfg.NATS.Replicas, Logger: log})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	directory, err := presence.New(presence.Options{
		Conn: client.Control(), Node: newNodeID(), Replicas: cfg.NATS.Replicas, Shards: presenceShards, MaxSegments: cfg.Limits.ChannelSegments, Logger: log,
	})
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	rules, err := settings.New(settings.Options{
		Conn: client.Control(), Replicas: cfg.NATS.Replicas, Logger: log,
		Limits: policy.Limits{ChannelBytes: cfg.Limits.ChannelBytes, ChannelSegments: cfg.Limits.ChannelSegments},
	})
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	type step struct {
		name string
		do   func(context.Context) error
	}
	steps := []step{{"history", store.Ensure}, {"presence", directory.Ensure}, {"settings", rules.Ensure}}
	if cfg.Lifecycle.Retention > 0 {
		record, err := lifecycle.New(lifecycle.Options{
			Control: client.Control(), Reads: client.Reads()[0], Node: newNodeID(), Replicas: cfg.NATS.Replicas, Retention: cfg.Lifecycle.Retention,
			Keeper: func() bool { return false }, Alive: func() []protocol.NodeID { return nil }, Logger: log,
		})
		if err != nil {
			return fmt.Errorf("lifecycle: %w", err)
		}
		steps = append(steps, step{"lifecycle", record.Ensure})
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	log.Info("streams and buckets are there", "replicas", cfg.NATS.Replicas)
	return nil
}

// connect opens the connections to the broker that the configuration names.
func connect(ctx context.Context, cfg config.Config, embedded Embedded, name string, log *slog.Logger) (*broker.Client, error) {
	warnOfOne(cfg, log)
	return broker.Connect(ctx, broker.ConnectOptions{
		URLs: config.Reveal(cfg.NATS.URLs), InProcess: embedded, Creds: cfg.NATS.Creds, User: cfg.NATS.User, Password: cfg.NATS.Password.Reveal(),
		TLSCert: cfg.NATS.TLS.Cert, TLSKey: cfg.NATS.TLS.Key, TLSCA: cfg.NATS.TLS.CA, Name: name, Logger: log,
	})
}

// warnOfOne says that the configuration names one broker of several: those do not tell each other's addresses, so when
// it is down this process has none. A name may stand for all of them.
func warnOfOne(cfg config.Config, log *slog.Logger) {
	if len(cfg.NATS.URLs) != 1 || cfg.NATS.Replicas < 2 {
		return
	}
	u, err := url.Parse(cfg.NATS.URLs[0].Reveal())
	if err == nil && net.ParseIP(u.Hostname()) != nil {
		log.Warn("nats.urls names one broker by its address: while it is down there is no other to go to; name all of them", "replicas", cfg.NATS.Replicas)
	}
}

// untilDenied ends ctx when the broker refuses something for lack of permission: NATS does not answer such requests,
// so whoever waits for one would wait for ever. explain puts the reason in place of the error that comes of it.
func untilDenied(ctx context.Context, client *broker.Client) (_ context.Context, explain func(failed *error)) {
	ctx, giveUp := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-client.Denied():
			giveUp(client.Denial())
		case <-ctx.Done():
		}
	}()
	return ctx, func(failed *error) {
		giveUp(nil)
		if denial := client.Denial(); *failed != nil && denial != nil {
			*failed = fmt.Errorf("%w (docs/operations/nats-permissions.md lists the permissions; `fanfare setup` makes the streams)", denial)
		}
	}
}
