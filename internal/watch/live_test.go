package watch

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/labtest"
)

var hold = flag.Duration("hold", 0, "keep the loaded cluster and its Prometheus for a while, to look at")

// TestLive: a loaded cluster, scraped by two Prometheus, one with native histograms and one with classic ones. Every
// query of every dashboard has sensible results in both, every rule can be evaluated, nothing alerts; then faults make
// alerts fire, and their end makes them resolve.
func TestLive(t *testing.T) {
	if testing.Short() {
		t.Log("short: without programs")
		return
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	bin := labtest.Build(t)
	spans := newCollector(t)
	c := labtest.Run(t, bin, 3, 2, "FANFARE_SETTINGS_FILE="+labtest.Write(t, "settings.yaml", fmt.Sprintf(settings, backend(t))),
		"FANFARE_API_KEYS="+apiKey, "FANFARE_AUTH_JWT_SECRET=watch-jwt-secret-0123456789abcdef0123456789", "FANFARE_TRIGGERS_ALLOW_PRIVATE=true", "FANFARE_LIFECYCLE_RETENTION=1h", "FANFARE_LIMITS_SOCKETS=1000",
		"FANFARE_TRACING_ENDPOINT="+spans.URL, "FANFARE_TRACING_SAMPLE_RATIO=0.1")
	both := map[string]*prometheus{"classic": startPrometheus(t, c, false, "classic"), "native": startPrometheus(t, c, true, "native")}
	ctx, cancel := context.WithCancel(t.Context())
	l := startLoad(ctx, t, c)
	defer l.running.Wait()
	defer cancel()

	for name, p := range both {
		t.Run(name, func(t *testing.T) {
			t.Run("dashboards", func(t *testing.T) { checkBoards(t, p) })
			t.Run("rules", func(t *testing.T) { checkRules(t, p) })
		})
	}
	if l.sent.Load() == 0 || l.received.Load() < l.sent.Load() {
		t.Errorf("the load sent %d and received %d", l.sent.Load(), l.received.Load())
	}
	t.Run("native histograms", func(t *testing.T) {
		for name, p := range both {
			labtest.Await(t, 30*time.Second, name, func() error { // a rate needs two scrapes in time
				list, err := p.query(t.Context(), `sum(rate(fanfare_fanout_latency_seconds[10s]))`)
				if err == nil && (name == "native") != (len(list) == 1 && list[0].Histogram && list[0].Buckets > 3) {
					err = fmt.Errorf("%+v", list)
				}
				return err
			})
		}
	})
	t.Run("traces", func(t *testing.T) { checkTraces(t, spans, both) })
	if *hold > 0 {
		t.Logf("Prometheus is at http://%s (native histograms) and http://%s (classic ones)", both["native"].addr, both["classic"].addr)
		_, _ = fmt.Fprintf(os.Stderr, "http://%s\n", both["native"].addr)
		<-time.After(*hold)
		return
	}
	p := both["classic"]
	t.Run("silence", func(t *testing.T) {
		awaitFiring(t, p, func(firing []string) bool { return len(firing) == 0 })
	})
	t.Run("broker lost", func(t *testing.T) {
		c.Brokers[0].Kill()
		awaitFiring(t, p, func(f []string) bool { return has(f, "FanfareTargetDown", "FanfareBrokerPeersMissing") })
		c.Brokers[0].Again(t)
		c.Brokers[0].AwaitReady(t, 60*time.Second)
	})
	t.Run("gateway cut off", func(t *testing.T) {
		for _, b := range c.Brokers {
			b.Signal(syscall.SIGSTOP)
		}
		awaitFiring(t, p, func(f []string) bool { return has(f, "FanfareGatewayCutOff", "FanfareNotReady", "FanfareTargetDown") })
		for _, b := range c.Brokers {
			b.Signal(syscall.SIGCONT)
		}
	})
	t.Run("gateway frozen", func(t *testing.T) {
		for _, n := range c.Gateways {
			n.AwaitReady(t, 60*time.Second)
		}
		c.Gateways[1].Signal(syscall.SIGSTOP)
		awaitFiring(t, p, func(f []string) bool { return has(f, "FanfareTargetDown", "FanfareGatewaysHidden") })
		c.Gateways[1].Signal(syscall.SIGCONT)
	})
	t.Run("over", func(t *testing.T) {
		// Those that look back some minutes stay until then.
		state := []string{"FanfareTargetDown", "FanfareBrokerPeersMissing", "FanfareGatewayCutOff", "FanfareNotReady", "FanfareNoLeader", "FanfareBrokerUnhealthy"}
		awaitFiring(t, p, func(f []string) bool { return !slices.ContainsFunc(state, func(s string) bool { return has(f, s) }) })
	})
}

func has(list []string, want ...string) bool {
	for _, w := range want {
		if !slices.Contains(list, w) {
			return false
		}
	}
	return true
}

// awaitFiring waits for a state of the alerts. Those about the machine's own disk are left out.
func awaitFiring(t *testing.T, p *prometheus, want func([]string) bool) {
	t.Helper()
	begun := time.Now()
	labtest.Await(t, 90*time.Second, "alerts", func() error {
		firing, err := p.firing(t.Context())
		if err != nil {
			return err
		}
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(firing)), func(n string) bool { return strings.HasPrefix(n, "FanfareDisk") })
		if !want(names) {
			return fmt.Errorf("firing: %v", names)
		}
		t.Logf("after %s: %v", time.Since(begun).Round(time.Millisecond), names)
		return nil
	})
}

// quiet are the queries that a system without faults answers with nothing.
func quiet() map[string]bool {
	out := map[string]bool{}
	for _, d := range dashboards() {
		for _, p := range d.panels {
			for _, q := range p.queries {
				if q.quiet {
					out[q.expr] = true
				}
			}
		}
	}
	return out
}

var chosen = strings.NewReplacer("$__rate_interval", "10s", "$__range", "30s", "$namespace", ".*", "$job", ".*", "$instance", ".*", "$stage", ".*", "$server", ".*")

// checkBoards asks everything that dashboards ask, again and again until all of it has sensible answers.
func checkBoards(t *testing.T, p *prometheus) {
	may := quiet()
	pending := map[string]func() error{}
	for _, b := range boards(t) {
		for _, v := range b.Templating.List {
			if v.Definition == "" || v.Name == "namespace" {
				continue
			}
			inside := strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")")
			at := strings.LastIndex(inside, ", ")
			pending[b.file+" variable "+v.Name] = func() error {
				list, err := p.query(t.Context(), fmt.Sprintf("count by (%s) (%s)", inside[at+2:], chosen.Replace(inside[:at])))
				if err == nil && (len(list) == 0 || list[0].Labels[inside[at+2:]] == "") {
					err = fmt.Errorf("nothing to choose: %v", list)
				}
				return err
			}
		}
		for _, a := range b.Annotations.List {
			pending[b.file+" annotation "+a.Name] = func() error {
				_, err := p.query(t.Context(), chosen.Replace(a.Expr))
				return err
			}
		}
		for _, panel := range b.Panels {
			for _, q := range panel.Targets {
				pending[fmt.Sprintf("%s, %s: %s", b.file, panel.Title, q.Expr)] = func() error {
					list, err := p.query(t.Context(), chosen.Replace(q.Expr))
					if err == nil && (len(list) > 0 || !may[q.Expr]) {
						err = sensible(panel, list)
					}
					return err
				}
			}
		}
	}
	asked, failed := len(pending), map[string]error{}
	for deadline := time.Now().Add(2 * time.Minute); len(pending) > 0 && time.Now().Before(deadline); <-time.After(500 * time.Millisecond) {
		for name, ask := range pending {
			if failed[name] = ask(); failed[name] == nil {
				delete(pending, name)
			}
		}
	}
	for name := range pending {
		t.Errorf("%s: %v", name, failed[name])
	}
	t.Logf("%d queries", asked)
}

func checkRules(t *testing.T, p *prometheus) {
	var all struct {
		Groups []struct {
			Rules []struct{ Name, Type, Health, LastError string }
		}
	}
	labtest.Await(t, 30*time.Second, "rules", func() error {
		if err := p.get(t.Context(), "/api/v1/rules", nil, &all); err != nil {
			return err
		}
		for _, g := range all.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		return nil
	})
	recorded := 0
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if r.Type != "recording" {
				continue
			}
			recorded++
			labtest.Await(t, 30*time.Second, r.Name, func() error {
				list, err := p.query(t.Context(), r.Name)
				if err == nil {
					err = sensible(boardPanel{}, list)
				}
				return err
			})
		}
	}
	if recorded < 20 {
		t.Errorf("%d recording rules", recorded)
	}
}
