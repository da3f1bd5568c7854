package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fanfare/broker/natsd"
	"fanfare/internal/config"
	"fanfare/internal/node"
)

const apiKey = "bench-test-key"

const rules = `servers:
- id: 1
  name: bench
  enabled: true
  hash: bench
  channels:
  - {id: 1, pattern: live, wildcard: true, enabled: true, anonymous_clients: true, presence: true, client_public_messaging: true}
  - {id: 2, pattern: kept, wildcard: true, enabled: true, anonymous_clients: true, client_public_messaging: true, history: 25}
  - {id: 3, pattern: mute, wildcard: true, enabled: true, anonymous_clients: true}
  - {id: 4, pattern: members, wildcard: true, enabled: true}
`

// startNode runs a node until the test ends; ops is where its metrics are.
func startNode(t *testing.T) (n *node.Node, ops string) {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir, cfg.Drain = "127.0.0.1:0", "", filepath.Join(t.TempDir(), "data"), 50*time.Millisecond
	cfg.APIKeys = []config.APIKey{{Key: config.NewSecret(apiKey)}}
	cfg.Broker.Sync = config.Sync(time.Second)
	cfg.Limits.UpgradesPerSecond = 0
	cfg.SettingsFile = filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(cfg.SettingsFile, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := node.New(cfg, node.Options{Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Embedded: embedded})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}))
	for tick := time.NewTicker(5 * time.Millisecond); n.Addr() == "" || !n.Ready(); <-tick.C {
		if len(done) > 0 {
			t.Fatal("the node ended")
		}
	}
	metrics := httptest.NewServer(promhttp.HandlerFor(n.Registry(), promhttp.HandlerOpts{}))
	t.Cleanup(metrics.Close)
	return n, metrics.URL
}

// embedded makes the broker of a node that has it inside.
func embedded(dataDir, sync string, log *slog.Logger) (node.Embedded, error) {
	return natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dataDir, Sync: sync, Logger: log})
}

// measure runs a scenario to its end.
func measure(t *testing.T, o Options) *Result {
	t.Helper()
	o.Hash = "bench"
	x, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func good(t *testing.T, x *Result) {
	t.Helper()
	if !x.OK() {
		t.Errorf("problems: %q", x.Problems)
	}
	var b bytes.Buffer
	if err := x.Print(&b); err != nil || strings.Contains(b.String(), "%!") {
		t.Errorf("%v\n%s", err, &b)
	}
	t.Logf("\n%s", &b)
}

func TestScenarios(t *testing.T) {
	n, ops := startNode(t)
	at := Options{URLs: []string{"http://" + n.Addr()}, Ops: []string{ops}}
	t.Run("fan-out", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Members, o.Rate, o.Duration, o.Warmup = FanOut, "live/a", 20, 100, time.Second, 100*time.Millisecond
		x := measure(t, o)
		good(t, x)
		if d := x.Deliveries; d.Sent != 110 || d.Expected != 110*20 || d.Received != d.Expected || x.Latency.Count != 100*20 {
			t.Errorf("%+v, %d latencies", d, x.Latency.Count)
		}
		if x.Server == nil || x.Server.RSSMiB == 0 || x.Generator.CPUs == 0 || x.Connect.Sockets != 20 {
			t.Errorf("%+v %+v %+v", x.Server, x.Generator, x.Connect)
		}
	})
	t.Run("rooms", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Channels, o.Members, o.Joins, o.Rate, o.Duration = Rooms, "live/r", 12, 4, 3, 10, 500*time.Millisecond
		x := measure(t, o)
		good(t, x)
		if x.Connections != 16 || x.Deliveries.Received != 12*5*4 {
			t.Errorf("%d connections, %+v", x.Connections, x.Deliveries)
		}
	})
	t.Run("events", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Members, o.Rate, o.Duration, o.APIKey = FanOut, "mute/a", 3, 100, 300*time.Millisecond, apiKey
		x := measure(t, o)
		good(t, x)
		if x.Deliveries.Received != 90 {
			t.Errorf("%+v", x.Deliveries)
		}
	})
	t.Run("idle", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Channels, o.Duration, o.Settle = Idle, "live/i", 5, 100*time.Millisecond, time.Millisecond
		x := measure(t, o)
		good(t, x)
		if x.Connections != 50 || x.Server == nil {
			t.Errorf("%+v", x)
		}
	})
	t.Run("storm", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Channels, o.Rate = Storm, "live/s", 5, 500
		x := measure(t, o)
		good(t, x)
		if x.Connect.Latency.Count != 50 || x.Reconnect.Latency.Count != 50 {
			t.Errorf("%+v %+v", x.Connect, x.Reconnect)
		}
	})
	t.Run("presence", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Members, o.Observers = Presence, "live/p", 30, 3
		x := measure(t, o)
		good(t, x)
		if p := x.Presence; p.JoinsSeen != 90 || p.LeavesSeen != 90 || p.JoinLatency.Count != 90 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("history", func(t *testing.T) {
		o := at
		o.Scenario, o.Channel, o.Members, o.Messages, o.Duration, o.SenderRate = History, "kept/a", 5, 40, 300*time.Millisecond, 90
		x := measure(t, o)
		good(t, x)
		if h := x.History; h.Kept != 25 || h.Requests != 30 || h.Answered != 30 || x.Latency.Count != 30 || h.StoreLatency.Count != 40 || len(x.Notes) == 0 {
			t.Errorf("%+v %q", h, x.Notes)
		}
	})
	t.Run("rules", func(t *testing.T) { testRules(t, at) })
}

// What a rule does not allow is said before the load, with what to change.
func testRules(t *testing.T, at Options) {
	t.Helper()
	for _, test := range []struct {
		scenario Scenario
		channel  string
		want     string
	}{
		{FanOut, "mute/a", "client_public_messaging: true"},
		{Presence, "mute/a", "presence: true"},
		{History, "live/a", "history: 25"},
		{Rooms, "nowhere", "no enabled rule"},
		{Idle, "members/a", "anonymous_clients: true"},
	} {
		o := at
		o.Scenario, o.Channel, o.Hash = test.scenario, test.channel, "bench"
		_, err := Run(t.Context(), o)
		if _, ok := errors.AsType[*RuleError](err); !ok || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s on %s: %v, want %q", test.scenario, test.channel, err, test.want)
		}
	}
	o := at
	o.Scenario, o.Hash = Idle, "wrong"
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--hash") {
		t.Errorf("a wrong hash: %v", err)
	}
	o.Hash, o.Channel, o.Ops = "bench", "live/a", o.URLs // not the operations address
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("any address passes for the operations address")
	}
}

// What a network or a server does to messages is found out.
func TestFaults(t *testing.T) {
	n, _ := startNode(t)
	const members, sent = 4, 60
	try := func(t *testing.T, set func(*proxy)) *Result {
		t.Helper()
		p := newProxy(t, n.Addr(), set)
		return measure(t, Options{
			Scenario: FanOut, URLs: []string{p.url}, Channel: "live/f", Members: members, Rate: 100, Parallel: 1,
			Duration: sent * time.Second / 100, Drain: 2 * time.Second,
		})
	}
	// Connection 0 is the probe.
	t.Run("lost", func(t *testing.T) {
		x := try(t, func(p *proxy) {
			p.alter = func(conn, n int, frame []byte) [][]byte {
				if conn == 2 && n%10 == 5 || conn == 3 && n == sent-1 { // in the middle, and at the end
					return [][]byte{}
				}
				return [][]byte{frame}
			}
		})
		if d := x.Deliveries; d.Lost != sent/10+1 || d.Received != sent*members-d.Lost || x.OK() {
			t.Errorf("%+v %q", d, x.Problems)
		}
	})
	t.Run("twice", func(t *testing.T) {
		x := try(t, func(p *proxy) {
			p.alter = func(conn, n int, frame []byte) [][]byte {
				if conn == 1 && n%10 == 0 {
					return [][]byte{frame, frame}
				}
				return [][]byte{frame}
			}
		})
		if d := x.Deliveries; d.Duplicates != sent/10 || d.Lost != 0 || x.OK() {
			t.Errorf("%+v %q", d, x.Problems)
		}
	})
	t.Run("disordered", func(t *testing.T) {
		var held []byte
		x := try(t, func(p *proxy) {
			p.alter = func(conn, n int, frame []byte) [][]byte {
				switch {
				case conn == 4 && n == 10:
					held = frame
					return [][]byte{}
				case conn == 4 && n == 12:
					return [][]byte{frame, held}
				}
				return [][]byte{frame}
			}
		})
		if d := x.Deliveries; d.OutOfOrder != 1 || d.Lost != 0 || x.OK() {
			t.Errorf("%+v %q", d, x.Problems)
		}
	})
	t.Run("cut", func(t *testing.T) {
		x := try(t, func(p *proxy) {
			p.alter = func(conn, n int, frame []byte) [][]byte {
				if conn == 3 && n == 20 {
					return nil
				}
				return [][]byte{frame}
			}
		})
		if d := x.Deliveries; d.Lost != sent-20 || x.Disconnects["the connection was cut"] != 1 || x.OK() {
			t.Errorf("%+v %v %q", d, x.Disconnects, x.Problems)
		}
	})
	t.Run("closed", func(t *testing.T) {
		x := try(t, func(p *proxy) {
			p.alter = func(conn, n int, frame []byte) [][]byte {
				if conn == 3 && n == 20 {
					frame = []byte{0x88, 6, 0x03, 0xf5, 's', 'l', 'o', 'w'} // 1013
				}
				return [][]byte{frame}
			}
		})
		if x.Disconnects["the server closed the socket with 1013 slow"] != 1 || x.OK() {
			t.Errorf("%v %q", x.Disconnects, x.Problems)
		}
	})
	t.Run("busy", func(t *testing.T) {
		x := try(t, func(p *proxy) {
			p.answer = func(n int) string {
				if n == 1 || n == 2 {
					return "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
				}
				return ""
			}
		})
		if x.Connect.Busy != 2 || !x.OK() {
			t.Errorf("%+v %q", x.Connect, x.Problems)
		}
	})
	// A stall shows in the latency of all that were due meanwhile, not only in that of the one that met it.
	t.Run("stalled", func(t *testing.T) {
		const pause = 400 * time.Millisecond
		x := try(t, func(p *proxy) {
			p.alter = func(_, n int, frame []byte) [][]byte {
				if n == 10 {
					stall(pause)
				}
				return [][]byte{frame}
			}
		})
		if !x.OK() || x.Latency.Max < 400 || x.Latency.P50 < 10 {
			t.Errorf("%v %q", x.Latency, x.Problems)
		}
	})
}

func TestNoServer(t *testing.T) {
	p := newProxy(t, "127.0.0.1:1", func(p *proxy) {
		p.answer = func(int) string { return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" }
	})
	for url, want := range map[string]string{"http://127.0.0.1:1": "refused", p.url: "404"} {
		if _, err := Run(t.Context(), Options{Scenario: Idle, URLs: []string{url}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	_, err := Run(t.Context(), Options{Scenario: Idle, URLs: []string{p.url}, Members: 1_000_000})
	if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), "open files") {
		t.Error(err)
	}
}
