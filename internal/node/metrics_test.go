package node

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"log/slog"

	"fanfare/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// start runs a node on free ports until the test ends.
func start(t *testing.T, change func(*config.Config)) *Node {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir, cfg.Drain = "127.0.0.1:0", "127.0.0.1:0", t.TempDir(), 0
	cfg.NATS.Replicas = 1
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg, Options{Embedded: embedded, Logger: slog.New(slog.DiscardHandler), Dev: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	deadline := time.Now().Add(60 * time.Second)
	for !n.gateway.Ready() {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("ended before it was ready: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("not ready")
		}
	}
	return n
}

var description = regexp.MustCompile(`fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)*"), .*variableLabels: \{([^}]*)\}`)

// Every metric of a node is listed in docs/metrics.md, and no other.
func TestMetricsAreListed(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Lifecycle.Retention = time.Hour }) // what is off by default too
	ch := make(chan *prometheus.Desc, 1024)
	n.reg.Describe(ch)
	close(ch)
	var lines []string
	for d := range ch {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if !strings.HasPrefix(m[1], "fanfare_") {
			continue
		}
		labels := strings.ReplaceAll(m[3], ",", ", ")
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", m[1], labels, strings.ReplaceAll(strings.Trim(m[2], `"`), `\"`, `"`)))
	}
	slices.Sort(lines)
	want := "# Metrics\n\nServed at `/metrics` on `ops_listen`, beside those of Go and of the process. No label holds a channel, a session or a user.\n" +
		"This page is made from the code by `go test ./internal/node -run TestMetricsAreListed -update`, and a test keeps it current.\n\n" +
		"| metric | labels | what |\n| --- | --- | --- |\n" + strings.Join(lines, "\n") + "\n"
	const file = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // a page of the documentation
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/metrics.md is not current: run this test with -update")
	}
	problems, err := promlint.NewWithMetricFamilies(must(n.reg.Gather())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "fanfare_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
