package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// long runs the sizes that take minutes: FANFARE_E2E_LONG=1.
func long() bool { return os.Getenv("FANFARE_E2E_LONG") != "" }

// size is how many there are of something: bounded in CI, more by the flag.
func size(usual, most int) int {
	if long() {
		return most
	}
	return usual
}

// machine measures how slow it is just now, beside itself at its best: how much longer than on its own a short sleep
// and a little work take. A promise in seconds is one about a machine that has them; beside other work it has fewer.
type machine struct {
	best time.Duration

	mu      sync.Mutex // guards what follows
	samples []sample
}

type sample struct {
	at   time.Time
	slow float64
}

// maxSlack bounds how much a promise is stretched, so that no fault hides behind a slow machine.
const maxSlack = 4

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{best: time.Hour}
	for range 20 {
		m.best = min(m.best, m.measure())
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { m.run(ctx) })
	t.Cleanup(func() {
		stop()
		group.Wait()
	})
	return m
}

// measure sleeps for 5 ms and works for about one.
func (m *machine) measure() time.Duration {
	begun := time.Now()
	<-time.After(5 * time.Millisecond)
	var sum [32]byte
	for range 2000 {
		sum = sha256.Sum256(append(sum[:], sum[:]...))
	}
	return time.Since(begun)
}

func (m *machine) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s := sample{time.Now(), float64(m.measure()) / float64(m.best)}
		m.mu.Lock()
		m.samples = append(m.samples, s)
		m.mu.Unlock()
	}
}

// slack is how much slower than at its best the machine was since a moment, 1 to maxSlack.
func (m *machine) slack(since time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum, n := 0.0, 0
	for i := len(m.samples) - 1; i >= 0 && m.samples[i].at.After(since); i-- {
		sum, n = sum+m.samples[i].slow, n+1
	}
	if n == 0 {
		return 1
	}
	return min(max(sum/float64(n), 1), maxSlack)
}

// within tells whether a promise was kept, on this machine as it was since then.
func (m *machine) within(t *testing.T, what string, since time.Time, took, promised time.Duration) {
	t.Helper()
	slack := m.slack(since)
	t.Logf("%s: %s, promised within %s; the machine was %.1f times slower than at its best", what, took.Round(time.Millisecond), promised, slack)
	if took > time.Duration(float64(promised)*slack) {
		t.Errorf("%s took %s, more than %s on a machine %.1f times slower than at its best", what, took, promised, slack)
	}
}

// rss is the memory that a process has now, and the most it ever had, in MiB; 0 where nobody tells.
func (p *process) rss() (now, most int) {
	cmd, _ := p.running()
	if cmd == nil {
		return 0, 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		n, _ := strconv.Atoi(words[1])
		switch words[0] {
		case "VmRSS:":
			now = n >> 10
		case "VmHWM:":
			most = n >> 10
		}
	}
	return now, most
}

// metric sums the series of a name at a process.
func metric(ctx context.Context, p *process, name string) (float64, error) {
	text, err := metrics(ctx, p)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		words := strings.Fields(line)
		n, err := strconv.ParseFloat(words[len(words)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum += n
	}
	return sum, nil
}
