package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

// TestBackup: a backup of a cluster in use, restored into an empty one, has everything that was stored before it, and a
// client that saw more is told so instead of being given a hole.
func TestBackup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	at := func(cluster *natstest.Cluster) func(c *config.Config) {
		return func(c *config.Config) {
			c.NATS.Replicas = 3
			for _, u := range cluster.URLs() {
				c.NATS.URLs = append(c.NATS.URLs, config.NewAddress(u))
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "backup")
	first := natstest.NewCluster(t, 3)
	cfg := config.Default()
	at(first)(&cfg)
	n := start(t, at(first))
	ch := dial(t, n).Channel("room1", client.ChannelOptions{})
	if err := ch.Join(ctx); err != nil {
		t.Fatal(err)
	}
	var ids []string
	send := func(count int) {
		t.Helper()
		for range count {
			receipt, err := ch.Send(ctx, fmt.Sprint("message ", len(ids)))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, receipt.ID)
		}
	}
	send(10)
	if err := Backup(ctx, cfg, dir, embedded, quiet); err != nil {
		t.Fatal(err)
	}
	if err := Backup(ctx, cfg, dir, embedded, quiet); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("again: %v", err)
	}
	send(5) // these are not in it
	natstest.Eventually(t, "the position behind the last message", func() bool {
		short, done := context.WithTimeout(ctx, time.Second)
		defer done()
		_, err := ch.Next(short)
		return err != nil
	})
	position := ch.Position()

	second := natstest.NewCluster(t, 3)
	restored := config.Default()
	restored.DataDir = dir
	at(second)(&restored)
	if err := Migrate(ctx, restored, embedded, quiet); err != nil {
		t.Fatal(err)
	}
	m := start(t, at(second))
	again := dial(t, m).Channel("room1", client.ChannelOptions{From: &position})
	if err := again.Join(ctx); err != nil {
		t.Fatal(err)
	}
	gap := false
	for got := []string(nil); len(got) < 10; {
		e, err := again.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *client.Gap:
			gap = true
		case *client.History:
			for _, m := range e.Messages {
				got = append(got, m.ID)
			}
			if fmt.Sprint(got) != fmt.Sprint(ids[:10]) {
				t.Fatalf("restored %v, want %v", got, ids[:10])
			}
		}
	}
	if !gap {
		t.Error("a client that saw more than the backup has was not told")
	}

	cfg.NATS.URLs = nil
	if err := Backup(ctx, cfg, filepath.Join(t.TempDir(), "x"), embedded, quiet); err == nil {
		t.Error("an embedded broker was backed up")
	}
}

// TestBackupWithoutSettings: where settings come from a file the broker has none, and that is no obstacle.
func TestBackupWithoutSettings(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("servers: [{id: 1, enabled: true, hash: demo, channels: [{pattern: room1, enabled: true, anonymous_clients: true, client_public_messaging: true, history: 25}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(cluster *natstest.Cluster, c *config.Config) {
		c.NATS.Replicas, c.SettingsFile = 3, file
		for _, u := range cluster.URLs() {
			c.NATS.URLs = append(c.NATS.URLs, config.NewAddress(u))
		}
	}
	first := natstest.NewCluster(t, 3)
	n := start(t, func(c *config.Config) { at(first, c) })
	ch := dial(t, n).Channel("room1", client.ChannelOptions{})
	if err := ch.Join(ctx); err != nil {
		t.Fatal(err)
	}
	sent, err := ch.Send(ctx, "kept")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backup")
	cfg := config.Default()
	at(first, &cfg)
	if err := Backup(ctx, cfg, dir, embedded, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	second := natstest.NewCluster(t, 3)
	restored := config.Default()
	restored.DataDir = dir
	at(second, &restored)
	if err := Migrate(ctx, restored, embedded, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	m := start(t, func(c *config.Config) { at(second, c) })
	again := dial(t, m).Channel("room1", client.ChannelOptions{})
	if err := again.Join(ctx); err != nil {
		t.Fatal(err)
	}
	if page, err := again.History(ctx, client.HistoryQuery{}); err != nil || len(page.Messages) != 1 || page.Messages[0].ID != sent.ID {
		t.Errorf("%+v %v", page, err)
	}
}
