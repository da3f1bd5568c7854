package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
	"fanfare/internal/node"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// lines collects what is printed.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

// last is the newest line.
func (l *lines) last(t *testing.T) (p phase) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Split(strings.TrimSpace(l.all.String()), "\n")
	if line := text[len(text)-1]; line != "" {
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	return p
}

// TestRun: traffic over a real node keeps every promise, and phases are told apart.
func TestRun(t *testing.T) {
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir, cfg.Drain = "127.0.0.1:0", "", t.TempDir(), 50*time.Millisecond
	cfg.Broker.Sync = config.Sync(time.Second)
	n, err := node.New(cfg, node.Options{Logger: slog.New(slog.DiscardHandler), Dev: true, Stdout: io.Discard, Embedded: func(dir, sync string, log *slog.Logger) (node.Embedded, error) {
		return natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dir, Sync: sync, Logger: log})
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	natstest.Eventually(t, "the node", func() bool { return n.Ready() || len(ended) > 0 })

	in, commands := io.Pipe()
	var out lines
	done := make(chan error, 1)
	o := options{url: "ws://" + n.Addr() + "/rt/demo", prefix: "chat/", tag: "t", channels: 2, followers: 2, senders: 3, each: 20 * time.Millisecond}
	go func() { done <- run(t.Context(), o, in, &out) }()
	natstest.Eventually(t, "traffic", func() bool {
		p := out.last(t)
		return p.Acked > 20 && p.Right && p.Sockets == 5 || len(done) > 0
	})
	for _, command := range []string{"mark quiet\n", "stop\n"} {
		if command == "stop\n" {
			natstest.Eventually(t, "the phase", func() bool { p := out.last(t); return p.Phase == "quiet" && p.Acked > 5 || len(done) > 0 })
		}
		if _, err := io.WriteString(commands, command); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if p := out.last(t); p.Phase != "end" || p.Acked < 25 || p.Deliveries < 2*p.Acked || p.Unknown+p.Refused+p.Reconnected+p.Unproved > 0 || p.AwayMs >= 0 {
		t.Errorf("%+v", p)
	}
	_ = commands.Close()
}
