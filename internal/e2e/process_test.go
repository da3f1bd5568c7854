package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/labtest"
)

// process is one fanfare that is started, hurt and started again.
type process struct {
	name string
	ops  string
	bin  string
	args []string
	env  []string
	log  string

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd
	exited chan struct{}
	code   int
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.bin, p.args...) // it ends with kill or term, and must not end with a test's context
	ours := func(v string) bool { return strings.HasPrefix(v, "FANFARE_") }
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ours), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = tied()
	// Pdeathsig is about the thread that started the process, which must therefore stay.
	started := make(chan error)
	exited := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = out.Close()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		p.mu.Lock()
		p.code = cmd.ProcessState.ExitCode()
		p.mu.Unlock()
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

func (p *process) running() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.exited
}

func (p *process) signal(s syscall.Signal) {
	if cmd, _ := p.running(); cmd != nil {
		_ = cmd.Process.Signal(s)
	}
}

// kill ends it as a crash does, and waits.
func (p *process) kill() {
	cmd, exited := p.running()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-exited
}

// ended is an error when it is not running any more.
func (p *process) ended() error {
	_, exited := p.running()
	select {
	case <-exited:
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%s has ended with code %d", p.name, p.code)
	default:
		return nil
	}
}

// term ends it in order and gives the exit code, or an error when it does not end.
func (p *process) term(within time.Duration) (int, error) {
	_, exited := p.running()
	p.signal(syscall.SIGTERM)
	select {
	case <-exited:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.code, nil
	case <-time.After(within):
		return 0, fmt.Errorf("%s did not end within %s", p.name, within)
	}
}

// probes has no keep-alive: a probe of a stopped process must not hold up later ones.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

func (p *process) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := probes.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", p.name, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; "))
	}
	return nil
}

// await polls until f gives nil: every 50 ms, or seldom enough for a costly f to take at most half of the time.
func await(ctx context.Context, within time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		begun := time.Now()
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(max(50*time.Millisecond, time.Since(begun))):
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", within, err)
		}
	}
}

// cluster is brokers and gateways with a proxy on each link between them.
type cluster struct {
	t        *testing.T
	dir      string
	brokers  []*process
	gateways []*process
	addrs    []string   // of gateways
	links    [][]*proxy // gateway, broker
	machine  *machine
	deaf     time.Duration // of the peers of a load
}

const (
	nodes  = 3
	hash   = "e2e"
	apiKey = "e2e-api-key-0123456789abcdef"
	secret = "e2e-jwt-secret-0123456789abcdef0123456789abcdef"
)

const settings = `servers:
  - id: 1
    name: e2e
    enabled: true
    hash: e2e
    channels:
      - {id: 1, pattern: room, wildcard: true, enabled: true, anonymous_clients: true, presence: true, history: 1000,
         client_public_messaging: true, client_authenticated_messaging: true, client_private_messaging: true}
      - {id: 2, pattern: live, wildcard: true, enabled: true, anonymous_clients: true, presence: true, history: 0,
         client_public_messaging: true, client_authenticated_messaging: true, client_private_messaging: true}
`

func build(t *testing.T, dir string) string {
	t.Helper()
	bin := filepath.Join(dir, "fanfare")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "fanfare/cmd/fanfare").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// newCluster builds the binary, starts everything and waits until it is ready.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	bin := build(t, c.dir)
	c.machine = newMachine(t)
	rules := filepath.Join(c.dir, "settings.yaml")
	if err := os.WriteFile(rules, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	clients, peers, ops, listen := labtest.Ports(t, nodes), labtest.Ports(t, nodes), labtest.Ports(t, 2*nodes), labtest.Ports(t, nodes)
	var routes []string
	for _, p := range peers {
		routes = append(routes, "nats://"+p)
	}
	add := func(name, command, ops string, env ...string) *process {
		return &process{name: name, ops: ops, bin: bin, args: []string{command}, log: filepath.Join(c.dir, name+".log"), env: append([]string{
			"FANFARE_OPS_LISTEN=" + ops, "FANFARE_DATA_DIR=" + filepath.Join(c.dir, name), "FANFARE_DRAIN=2s", "FANFARE_LOG_LEVEL=info",
		}, env...)}
	}
	for i := range nodes {
		c.brokers = append(c.brokers, add(fmt.Sprint("broker-", i), "broker", ops[i],
			fmt.Sprint("FANFARE_BROKER_NAME=broker-", i), "FANFARE_BROKER_LISTEN="+clients[i], "FANFARE_BROKER_CLUSTER_LISTEN="+peers[i],
			"FANFARE_BROKER_ROUTES="+strings.Join(routes, ","), "FANFARE_BROKER_SYNC=always"))
	}
	for i := range nodes {
		var links []*proxy
		var urls []string
		for j := range nodes {
			p := newProxy(t, clients[j])
			links, urls = append(links, p), append(urls, "nats://"+p.addr())
		}
		c.links = append(c.links, links)
		c.addrs = append(c.addrs, listen[i])
		c.gateways = append(c.gateways, add(fmt.Sprint("gateway-", i), "serve", ops[nodes+i],
			"FANFARE_LISTEN="+listen[i], "FANFARE_NATS_URLS="+strings.Join(urls, ","), "FANFARE_SETTINGS_FILE="+rules, "FANFARE_LIFECYCLE_RETENTION=2h",
			fmt.Sprint("FANFARE_LIMITS_UPGRADES_PER_SECOND=", size(300, 1000)),
			"FANFARE_API_KEYS="+apiKey, "FANFARE_AUTH_JWT_SECRET="+secret))
	}
	t.Cleanup(func() {
		for _, p := range c.all() {
			p.kill()
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			c.dump()
		}
	})
	for _, p := range c.all() { // all at once: whoever comes first makes the streams
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.settle(t.Context(), 90*time.Second); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) all() []*process { return append(append([]*process{}, c.brokers...), c.gateways...) }

// settle waits until everything is ready. What has ended never will be.
func (c *cluster) settle(ctx context.Context, within time.Duration) error {
	for _, p := range c.all() {
		var ended error
		err := await(ctx, within, func() error {
			ready := p.ready(ctx)
			if ended = p.ended(); ended != nil {
				return nil
			}
			return ready
		})
		if err = errors.Join(ended, err); err != nil {
			return err
		}
	}
	return nil
}

// dump logs the end of what each process said, and last how each fares.
func (c *cluster) dump() {
	var states []string
	for _, p := range c.all() {
		states = append(states, fmt.Sprintf("%s: %v", p.name, cmp.Or(p.ended(), p.ready(context.Background()), errors.New("ready"))))
	}
	defer func() { c.t.Log(strings.Join(states, "\n")) }()
	for _, p := range c.all() {
		text, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		c.t.Logf("%s:\n%s", p.name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}
