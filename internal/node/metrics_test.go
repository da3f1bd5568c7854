package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// start runs a node as `fanfare dev` does on free ports until the test ends.
func start(t *testing.T, change func(*config.Config)) *Node {
	t.Helper()
	return startAs(t, true, change)
}

func startAs(t *testing.T, dev bool, change func(*config.Config)) *Node {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir, cfg.Drain = "127.0.0.1:0", "127.0.0.1:0", t.TempDir(), 0
	cfg.NATS.Replicas = 1
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg, Options{Embedded: embedded, Logger: slog.New(slog.DiscardHandler), Dev: dev})
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

var description = regexp.MustCompile(`fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)*"), .*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

var constLabel = regexp.MustCompile(`(\w+)="`)

// certificate makes one for loopback.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private))
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private)))
}

// Every metric of a node is listed in docs/metrics.md, and no other.
func TestMetricsAreListed(t *testing.T) {
	n := start(t, func(c *config.Config) { // what is off by default too
		c.Lifecycle.Retention = time.Hour
		c.Tracing.Endpoint = "http://127.0.0.1:9" // nobody is there, and nothing is recorded
		c.TLS.Cert, c.TLS.Key = certificate(t)
	})
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
		var labels []string
		for _, l := range constLabel.FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		if m[4] != "" {
			labels = append(labels, strings.Split(m[4], ",")...)
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", m[1], strings.Join(labels, ", "), strings.ReplaceAll(strings.Trim(m[2], `"`), `\"`, `"`)))
	}
	slices.Sort(lines)
	want := "# Metrics\n\nServed at `/metrics` on `ops_listen`, beside those of Go and of the process. No label holds a channel, a session or a user.\n" +
		"Those below `fanfare_broker_server_` come from `fanfare broker`, and from a gateway whose broker is embedded; `fanfare_build_info` and `fanfare_ready` from both.\n" +
		"This page is made from the code by `go test ./internal/node -run TestMetricsAreListed -update`, and a test keeps it current.\n\n" +
		"| metric | labels | what |\n| --- | --- | --- |\n" + strings.Join(lines, "\n") + "\n"
	const file = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
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
