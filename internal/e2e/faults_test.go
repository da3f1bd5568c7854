package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fault is one thing that goes wrong and is put right again.
type fault struct {
	kind   string
	a, b   int // gateway or broker; for links gateway and broker
	lasts  time.Duration
	before time.Duration // peace before it
	with   *fault        // at the same time; of a link
}

func (f fault) String() string {
	with := ""
	if f.with != nil {
		with = ", with " + f.with.String()
	}
	return fmt.Sprintf("after %s: %s %d %d for %s%s", f.before.Round(time.Millisecond), f.kind, f.a, f.b, f.lasts.Round(time.Millisecond), with)
}

// The kinds, and how long each may last.
var kinds = []struct {
	name     string
	from, to time.Duration
}{
	{"kill gateway", 500 * time.Millisecond, 4 * time.Second},
	{"stop gateway", 2 * time.Second, 8 * time.Second}, // SIGSTOP: the others think it dead, and then it lives
	{"end gateway", 0, time.Second},
	{"kill broker", time.Second, 6 * time.Second},
	{"stop broker", 2 * time.Second, 9 * time.Second},
	{"end broker", 0, 2 * time.Second},
	{"cut link", 200 * time.Millisecond, 4 * time.Second},
	{"black-hole link", time.Second, 8 * time.Second},
	{"slow link", 2 * time.Second, 6 * time.Second},
	{"cut gateway", time.Second, 8 * time.Second}, // from all brokers
}

// links is where the kinds of links begin.
const links = 6

// schedule follows from the seed alone.
func schedule(seed uint64, n int) (out []fault) {
	random := rand.New(rand.NewPCG(seed, 0))
	var deck []int
	draw := func(kind int) fault {
		k := kinds[kind]
		return fault{
			kind: k.name, a: random.IntN(nodes), b: random.IntN(nodes),
			lasts:  k.from + time.Duration(random.Int64N(int64(k.to-k.from))),
			before: 300*time.Millisecond + time.Duration(random.IntN(1500))*time.Millisecond,
		}
	}
	for range n {
		if len(deck) == 0 { // each kind once before one comes again
			deck = random.Perm(len(kinds))
		}
		f := draw(deck[0])
		if random.IntN(3) == 0 && !strings.Contains(f.kind, "link") && f.kind != "cut gateway" {
			also := draw(links + random.IntN(3))
			f.with = &also
		}
		deck = deck[1:]
		out = append(out, f)
	}
	return out
}

// TestSchedule: the same seed is the same schedule.
func TestSchedule(t *testing.T) {
	a, b, other := fmt.Sprint(schedule(7, 40)), fmt.Sprint(schedule(7, 40)), fmt.Sprint(schedule(8, 40))
	if a != b || a == other {
		t.Error("a schedule does not follow from its seed")
	}
}

// inflict does what the fault says and undoes it.
func (c *cluster) inflict(ctx context.Context, f fault) error {
	if f.with != nil {
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() { _ = c.inflict(ctx, *f.with) }) // those of links cannot fail
	}
	pause(ctx, f.before)
	g, b, link := c.gateways[f.a], c.brokers[f.a], c.links[f.a][f.b]
	end := func(p *process) error {
		code, err := p.term(60 * time.Second)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s: exit code %d after SIGTERM", p.name, code)
		}
		pause(ctx, f.lasts)
		if failed := p.start(); err == nil {
			err = failed
		}
		return err
	}
	kill := func(p *process) error {
		p.kill()
		pause(ctx, f.lasts)
		return p.start()
	}
	hold := func(p *process) error {
		p.signal(syscall.SIGSTOP)
		pause(ctx, f.lasts)
		p.signal(syscall.SIGCONT)
		return nil
	}
	switch f.kind {
	case "kill gateway":
		return kill(g)
	case "stop gateway":
		return hold(g)
	case "end gateway":
		return end(g)
	case "kill broker":
		return kill(b)
	case "stop broker":
		return hold(b)
	case "end broker":
		return end(b)
	case "cut link":
		link.refuseAll(true)
		pause(ctx, f.lasts)
		link.refuseAll(false)
	case "black-hole link":
		link.blackHole(true)
		pause(ctx, f.lasts)
		link.blackHole(false)
	case "slow link":
		link.slow(20*time.Millisecond + f.lasts/100)
		pause(ctx, f.lasts)
		link.slow(0)
	case "cut gateway":
		for _, l := range c.links[f.a] {
			l.refuseAll(true)
		}
		pause(ctx, f.lasts)
		for _, l := range c.links[f.a] {
			l.refuseAll(false)
		}
	}
	return nil
}

// pause lets time pass while something is broken.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// faults: a random schedule under load. Whatever happens, the checker finds nothing.
func faults(t *testing.T, c *cluster) {
	t.Helper()
	duration, seed := 50*time.Second, rand.Uint64()
	if text := os.Getenv("FANFARE_E2E_DURATION"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		duration = d
	}
	if text := os.Getenv("FANFARE_E2E_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("FANFARE_E2E_SEED=%d FANFARE_E2E_DURATION=%s", seed, duration)
	c.deaf = 4 * time.Second // clients notice some of the gateways that hang
	l := c.newLoad(t, "faults", 4, 6, 8, 150*time.Millisecond)
	l.send()
	begun := time.Now()
	for _, f := range schedule(seed, 10000) {
		if time.Since(begun) > duration {
			break
		}
		t.Logf("%6.1f s: %s", time.Since(begun).Seconds(), f)
		if err := c.inflict(t.Context(), f); err != nil {
			t.Error(err)
		}
		if err := c.settle(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
	}
	l.verify()
	c.tellRepairs(t)
}

// tellRepairs logs what the gateways did about losses since they were started.
func (c *cluster) tellRepairs(t *testing.T) {
	t.Helper()
	for _, g := range c.gateways {
		text, err := metrics(t.Context(), g)
		if err != nil {
			t.Error(err)
		}
		var lines []string
		for line := range strings.SplitSeq(text, "\n") {
			for _, name := range []string{"gaps_", "publications_recovered_", "publish_retries_", "repair_stale_", "resets_", "reconnects_", "dropped_"} {
				if strings.HasPrefix(line, "fanfare_broker_"+name) && !strings.HasSuffix(line, " 0") {
					lines = append(lines, strings.TrimPrefix(line, "fanfare_broker_"))
				}
			}
		}
		t.Logf("%s since its last start: %s", g.name, strings.Join(lines, ", "))
	}
}
