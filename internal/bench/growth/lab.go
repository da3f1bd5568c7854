package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"fanfare/internal/freeport"
)

const rules = `servers:
- id: 1
  name: growth
  enabled: true
  hash: growth
  channels:
  - {id: 1, pattern: live, wildcard: true, enabled: true, anonymous_clients: true, presence: true, client_public_messaging: true}
  - {id: 2, pattern: kept, wildcard: true, enabled: true, anonymous_clients: true, client_public_messaging: true, history: 100}
`

// lab is the servers of one point.
type lab struct {
	bin, dir string
	procs    []*exec.Cmd
	urls     []string // of gateways
	ops      []string // of gateways, then of the broker where there is one
}

// newLab starts what p needs. It is given back with an error too: it must be closed.
func newLab(ctx context.Context, bin string, p point) (*lab, error) {
	l := &lab{bin: bin}
	var err error
	if l.dir, err = os.MkdirTemp("", "fanfare-growth-"); err != nil {
		return l, fmt.Errorf("directory: %w", err)
	}
	settings := filepath.Join(l.dir, "rules.yaml")
	if err := os.WriteFile(settings, []byte(rules), 0o600); err != nil {
		return l, fmt.Errorf("rules: %w", err)
	}
	var broker, brokerOps string
	if p.broker {
		if broker, err = freeport.Addr(); err == nil {
			brokerOps, err = freeport.Addr()
		}
		if err != nil {
			return l, err
		}
		if err := l.start(ctx, brokerOps, "broker", "FANFARE_BROKER_NAME=a", "FANFARE_BROKER_LISTEN="+broker,
			"FANFARE_DATA_DIR="+filepath.Join(l.dir, "broker")); err != nil {
			return l, err
		}
	}
	for i := range max(p.gateways, 1) {
		addr, err := freeport.Addr()
		if err != nil {
			return l, err
		}
		ops, err := freeport.Addr()
		if err != nil {
			return l, err
		}
		env := []string{
			"FANFARE_LISTEN=" + addr, "FANFARE_SETTINGS_FILE=" + settings, "FANFARE_LIMITS_FRAMES_PER_SECOND=0",
			"FANFARE_LIMITS_UPGRADES_PER_SECOND=0", "FANFARE_DRAIN=0s", "FANFARE_DATA_DIR=" + filepath.Join(l.dir, strconv.Itoa(i)),
		}
		if broker != "" {
			env = append(env, "FANFARE_NATS_URLS=nats://"+broker, "FANFARE_NATS_REPLICAS=1")
		}
		if err := l.start(ctx, ops, "serve", env...); err != nil {
			return l, err
		}
		l.urls, l.ops = append(l.urls, "http://"+addr), append(l.ops, ops)
	}
	if brokerOps != "" {
		l.ops = append(l.ops, brokerOps)
	}
	return l, nil
}

// start runs a server and waits until it is ready.
func (l *lab) start(ctx context.Context, ops, command string, env ...string) error {
	cmd := exec.CommandContext(ctx, l.bin, command) //nolint:gosec // the binary that was named
	cmd.Env = append(env, "FANFARE_OPS_LISTEN="+ops, "FANFARE_LOG_LEVEL=warn", "PATH="+l.dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	l.procs = append(l.procs, cmd)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if response, err := get(ctx, "http://"+ops+"/readyz"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s is not ready after 30 s", command)
}

func get(ctx context.Context, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(request) //nolint:wrapcheck // names the address
}

// close ends the servers, the broker last.
func (l *lab) close() {
	for _, cmd := range slices.Backward(l.procs) {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	_ = os.RemoveAll(l.dir)
}

// figuresOf are those of `fanfare bench --json` that are drawn.
type figuresOf struct {
	Connections int `json:"connections"`
	Connect     struct {
		PerSecond float64 `json:"per_second"`
	} `json:"connect"`
	Deliveries struct {
		Expected int64 `json:"expected"`
		Lost     int64 `json:"lost"`
	} `json:"deliveries"`
	Latency struct {
		P99 float64 `json:"p99_ms"`
	} `json:"latency"`
	Server struct {
		PerMillion   float64 `json:"cpu_seconds_per_million_deliveries"`
		RSSMiB       float64 `json:"rss_mib"`
		KiBPerSocket float64 `json:"kib_per_connection"`
	} `json:"server"`
	Problems []string `json:"problems"`
}

// bench runs `fanfare bench` against all gateways, or against one of them; what was lost is an error.
func (l *lab) bench(ctx context.Context, gateway int, args ...string) (*figuresOf, error) {
	urls, ops := l.urls, l.ops
	if gateway >= 0 {
		urls, ops = urls[gateway:gateway+1], ops[gateway:gateway+1]
	}
	args = append([]string{"bench", args[0], "--json", "--hash", "growth", "--url", urls[0], "--ops", strings.Join(ops, ",")}, args[1:]...)
	if len(urls) > 1 {
		args = append(args, "--gateway", strings.Join(urls[1:], ","))
	}
	cmd := exec.CommandContext(ctx, l.bin, args...) //nolint:gosec // the binary that was named
	var out, failed bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=" + l.dir}, &out, &failed
	err := cmd.Run()
	var f figuresOf
	if e := json.Unmarshal(out.Bytes(), &f); e != nil {
		return nil, errors.Join(err, errors.New(strings.TrimSpace(failed.String())))
	}
	if len(f.Problems) > 0 {
		return nil, errors.New(strings.Join(f.Problems, "; "))
	}
	return &f, nil
}

// everywhere runs the same against each gateway at once, each from a process of its own.
func (l *lab) everywhere(ctx context.Context, args ...string) ([]*figuresOf, error) {
	all, errs := make([]*figuresOf, len(l.urls)), make([]error, len(l.urls))
	var wg sync.WaitGroup
	for i := range l.urls {
		wg.Go(func() { all[i], errs[i] = l.bench(ctx, i, args...) })
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// rss is the resident memory of the first gateway, in bytes.
func (l *lab) rss(ctx context.Context) (float64, error) {
	response, err := get(ctx, "http://"+l.ops[0]+"/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "process_resident_memory_bytes "); ok {
			return strconv.ParseFloat(text, 64) //nolint:wrapcheck // a metric
		}
	}
	return 0, errors.New("no process_resident_memory_bytes")
}
