package labtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Node is a gateway or a broker of a Cluster.
type Node struct {
	*Process
	Addr string // where clients connect
	Ops  string // metrics and readiness
}

// Cluster is brokers with gateways over them.
type Cluster struct {
	Brokers, Gateways []*Node
}

// Build makes the binary.
func Build(tb testing.TB) string {
	tb.Helper()
	bin := filepath.Join(tb.TempDir(), "fanfare")
	out, err := exec.CommandContext(tb.Context(), "go", "build", "-o", bin, "fanfare/cmd/fanfare").CombinedOutput()
	if err != nil {
		tb.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// Run starts brokers and gateways and waits until they are ready. Without brokers each gateway has its own, embedded.
// env is for the gateways.
func Run(tb testing.TB, bin string, brokers, gateways int, env ...string) *Cluster {
	tb.Helper()
	c := &Cluster{}
	clients, peers, ops, listen := Ports(tb, brokers), Ports(tb, brokers), Ports(tb, brokers+gateways), Ports(tb, gateways)
	var routes, urls []string
	for i := range brokers {
		routes, urls = append(routes, "nats://"+peers[i]), append(urls, "nats://"+clients[i])
	}
	for i := range brokers {
		own := []string{fmt.Sprint("FANFARE_BROKER_NAME=broker-", i), "FANFARE_BROKER_LISTEN=" + clients[i]}
		if brokers > 1 { // a cluster of one would wait for its peers
			own = append(own, "FANFARE_BROKER_CLUSTER_LISTEN="+peers[i], "FANFARE_BROKER_ROUTES="+strings.Join(routes, ","))
		}
		c.Brokers = append(c.Brokers, StartNode(tb, bin, fmt.Sprint("broker-", i), "broker", clients[i], ops[i], own...))
	}
	for i := range gateways {
		own := append([]string{"FANFARE_LISTEN=" + listen[i]}, env...)
		if brokers > 0 {
			own = append(own, "FANFARE_NATS_URLS="+strings.Join(urls, ","), fmt.Sprint("FANFARE_NATS_REPLICAS=", min(3, brokers)))
		}
		c.Gateways = append(c.Gateways, StartNode(tb, bin, fmt.Sprint("gateway-", i), "serve", listen[i], ops[brokers+i], own...))
	}
	for _, n := range append(append([]*Node{}, c.Brokers...), c.Gateways...) {
		n.AwaitReady(tb, 60*time.Second)
	}
	return c
}

// StartNode starts a gateway ("serve") or a broker ("broker") that listens where env says.
func StartNode(tb testing.TB, bin, name, command, addr, ops string, env ...string) *Node {
	tb.Helper()
	return &Node{Addr: addr, Ops: ops, Process: Start(tb, name, bin, []string{command}, append([]string{
		"FANFARE_OPS_LISTEN=" + ops, "FANFARE_DATA_DIR=" + filepath.Join(tb.TempDir(), name), "FANFARE_DRAIN=2s", "FANFARE_LOG_LEVEL=info",
	}, env...))}
}

// AwaitReady waits for /readyz.
func (n *Node) AwaitReady(tb testing.TB, within time.Duration) {
	tb.Helper()
	Await(tb, within, n.Name+" ready", func() error {
		status, text, err := Get(tb.Context(), "http://"+n.Ops+"/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d: %s", status, strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
		}
		return err
	})
}

// probes has no keep-alive: a probe of a stopped process must not hold up later ones.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second} //nolint:gochecknoglobals // for tests only

// Get asks for an address.
func Get(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := probes.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
