package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

// TestMigrate: a gateway with an embedded broker is stopped, its store is copied to a cluster of three, gateways start
// there, and a client that was away resumes as if nothing had happened: whole, in order, with the same epoch.
func TestMigrate(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	var before client.Position
	var ids []string
	send := func(n *Node, count int) {
		t.Helper()
		ch := dial(t, n).Channel("room1", client.ChannelOptions{})
		if err := ch.Join(ctx); err != nil {
			t.Fatal(err)
		}
		for range count {
			receipt, err := ch.Send(ctx, fmt.Sprint("message ", len(ids)))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, receipt.ID)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		n := start(t, func(c *config.Config) { c.DataDir = dir })
		send(n, 20)
		c := dial(t, n)
		ch := c.Channel("room1", client.ChannelOptions{})
		if err := ch.Join(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.Next(ctx); err != nil { // that it has joined
			t.Fatal(err)
		}
		before = ch.Position() // here the one who was away leaves
		_ = c.Close()
		send(n, 20)
	})
	cluster := natstest.NewCluster(t, 3)
	there := func(c *config.Config) {
		c.NATS.Replicas = 3
		for _, u := range cluster.URLs() {
			c.NATS.URLs = append(c.NATS.URLs, config.NewAddress(u))
		}
	}
	cfg := config.Default()
	cfg.DataDir = dir
	there(&cfg)
	if err := Migrate(ctx, cfg, embedded, quiet); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(ctx, cfg, embedded, quiet); err == nil || !strings.Contains(err.Error(), "has that stream already") {
		t.Errorf("again: %v", err)
	}
	n := start(t, there)
	position := before
	ch := dial(t, n).Channel("room1", client.ChannelOptions{From: &position})
	if err := ch.Join(ctx); err != nil {
		t.Fatal(err)
	}
	send(n, 5)
	for i := 20; i < 45; {
		e, err := ch.Next(ctx)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		switch e := e.(type) {
		case *client.Gap, *client.History:
			t.Fatalf("the resume is not whole: %#v", e)
		case *client.Message:
			if i == 20 && e.ID == ids[19] {
				continue // it had been on its way to whom joined
			}
			if e.ID != ids[i] {
				t.Fatalf("number %d is number %d, want %s", i, slices.Index(ids, e.ID), ids[i])
			}
			i++
		}
	}
}

// embedded makes the broker of a node that has it inside.
func embedded(dataDir, sync string, log *slog.Logger) (Embedded, error) {
	return natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dataDir, Sync: sync, Logger: log})
}
