package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/node"
)

const apiKey = "backend-test-key"

// startNode runs a node with the demo server until the test ends, and gives its address.
func startNode(t *testing.T, change func(*config.Config)) (addr string, stop func()) {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir, cfg.Drain = "127.0.0.1:0", "", filepath.Join(t.TempDir(), "data"), 50*time.Millisecond
	cfg.APIKeys = []config.APIKey{{Key: config.NewSecret(apiKey)}}
	cfg.Triggers.AllowPrivate = true
	cfg.Broker.Sync = config.Sync(time.Second)
	if change != nil {
		change(&cfg)
	}
	n, err := node.New(cfg, node.Options{Logger: slog.New(slog.DiscardHandler), Dev: true, Stdout: io.Discard, Embedded: embedded})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	for tick := time.NewTicker(5 * time.Millisecond); n.Addr() == "" || !n.Ready(); <-tick.C {
		if len(done) > 0 {
			t.Fatal("the node ended")
		}
	}
	return n.Addr(), stop
}

func dial(t *testing.T, addr string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), "ws://"+addr+"/rt/demo", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func join(t *testing.T, c *client.Client, name string) *client.Channel {
	t.Helper()
	ch := c.Channel(name, client.ChannelOptions{})
	if err := ch.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ch
}

// call asks the server API and gives the status.
func call(t *testing.T, addr, method, path string, body, into any) int {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+"/api/v1/demo"+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
		}
	}
	return resp.StatusCode
}

// embedded makes the broker of a node that has it inside.
func embedded(dataDir, sync string, log *slog.Logger) (node.Embedded, error) {
	return natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dataDir, Sync: sync, Logger: log})
}
