package settings

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/natstest"
)

// TestEnsureWaitsForLeaders: brokers without a leader do not answer, and what they were asked then they never answer.
func TestEnsureWaitsForLeaders(t *testing.T) {
	cluster := natstest.NewCluster(t, 3)
	nc, err := nats.Connect(cluster.Nodes[0].URL(), nats.DontRandomize(), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, n := range cluster.Nodes[1:] {
		n.Stop()
	}
	s, err := New(Options{Conn: nc, Replicas: 3, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	made := make(chan error, 1)
	go func() { made <- s.Ensure(ctx) }()
	select {
	case err := <-made:
		t.Fatalf("ended without a leader: %v", err)
	case <-time.After(10 * time.Second): // at least one attempt has gone
	}
	for _, n := range cluster.Nodes[1:] {
		n.Start(t)
	}
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	if err := s.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Current().ByID(firstServer) == nil {
		t.Error("there is no first server")
	}
}
