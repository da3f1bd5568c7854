package node

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

// logged is what was logged so far.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestStuckStart: a gateway that asks for more replicas than there are brokers says so, in the log and to who probes it.
func TestStuckStart(t *testing.T) {
	single := natstest.Single(t)
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.Drain = "127.0.0.1:0", "", 0
	cfg.NATS.URLs, cfg.NATS.Replicas = []config.Address{config.NewAddress(single.URL())}, 3
	var log logged
	n, err := New(cfg, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.probeBroker(t.Context()); err == nil || err.Error() != "not connected yet" {
		t.Errorf("broker before the start: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	began := time.Now()
	natstest.Eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "history is not ready") })
	if text := log.String(); !strings.Contains(text, "replicas=3") || !strings.Contains(text, "level=WARN") {
		t.Error(text)
	}
	if err := n.probeGateway(ctx); err == nil || err.Error() != "starting: history" {
		t.Errorf("gateway: %v", err)
	}
	if err := n.probeBroker(ctx); err != nil {
		t.Errorf("broker: %v", err)
	}
	if warned := strings.Count(log.String(), "history is not ready"); time.Since(began) < 5*time.Second && warned != 1 {
		t.Errorf("%d warnings at once", warned)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := n.probeGateway(t.Context()); err == nil || err.Error() != "draining" {
		t.Errorf("gateway at the end: %v", err)
	}
}
