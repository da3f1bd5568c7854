package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCluster runs everything on one cluster, in this order.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Log("short: the checker's own tests only")
		return
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	c := newCluster(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"reach", reach},
		{"killed gateway", killedGateway},
		{"slow reader", slowReader},
		{"rolling restart", rollingRestart},
		{"killed brokers", killedBrokers},
		{"faults", faults},
		{"brokers down", brokersDown},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, c) }) {
			c.dump()
		}
		if err := c.settle(t.Context(), 60*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// reach: private messages, targeted events and disconnect find a socket on any gateway.
func reach(t *testing.T, c *cluster) {
	t.Helper()
	const channel = "room/reach"
	from := c.join(t, &peer{name: "from", channels: []string{channel}, pin: 0, pinned: true})
	to := c.join(t, &peer{name: "to", channels: []string{channel}, pin: 1, pinned: true, token: token(7, 42)})
	gets := func(what, want string) {
		t.Helper()
		select {
		case got := <-to.private:
			if got != want {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s did not come", what)
		}
	}
	if _, err := from.send(channel, "psst", fields{"socketId": to.self(channel)}); err != nil {
		t.Error(err)
	}
	gets("private message", "psst")
	var answer map[string]any
	if err := c.call(t.Context(), 2, http.MethodPost, "/events", fields{"channel": channel, "data": fields{"key": "user"}, "dbo_id": 7, "row_id": 42}, &answer); err != nil {
		t.Error(err)
	}
	gets("event for a user", "user")
	if err := c.call(t.Context(), 2, http.MethodPost, "/events", fields{"channel": channel, "data": fields{"key": "socket"}, "socketId": to.self(channel)}, &answer); err != nil {
		t.Error(err)
	}
	gets("event for a socket", "socket")
	to.mu.Lock()
	to.quiet = true
	to.mu.Unlock()
	if err := c.call(t.Context(), 2, http.MethodPost, "/disconnect", fields{"dbo_id": 7, "row_id": 42}, &answer); err != nil {
		t.Error(err)
	}
	if n, _ := answer["disconnected"].(float64); n != 1 {
		t.Errorf("disconnect: %v", answer)
	}
	if err := await(t.Context(), 10*time.Second, func() error {
		if to.self(channel) != "" {
			return errors.New("still there")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// killedGateway: presence is right within 10 s of a kill -9.
func killedGateway(t *testing.T, c *cluster) {
	t.Helper()
	const channel, members = "room/killed", 500
	check := NewChecker()
	observer := c.join(t, &peer{name: "observer", check: check, channels: []string{channel}, pin: 1, pinned: true})
	for i := range members {
		c.begin(t, &peer{name: fmt.Sprint("member-", i), channels: []string{channel}, pin: 0, pinned: true, pause: time.Hour})
	}
	size := func(want int) func() error {
		return func() error {
			if n := len(check.View(observer.name, channel)); n != want {
				return fmt.Errorf("%d are seen, want %d", n, want)
			}
			return nil
		}
	}
	if err := await(t.Context(), 60*time.Second, size(members+1)); err != nil {
		t.Fatal(err)
	}
	c.gateways[0].kill()
	begun := time.Now()
	err := await(t.Context(), 30*time.Second, size(1))
	took := time.Since(begun)
	t.Logf("presence was right %s after kill -9 of a gateway with %d members", took.Round(time.Millisecond), members)
	if err != nil || took > 10*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	if err := c.gateways[0].start(); err != nil {
		t.Fatal(err)
	}
	if err := first(check.Messages(nil)); err != nil {
		t.Error(err)
	}
}

// slowReader: one that does not read, at 2 MB/s, is closed, alone, and the others do not feel it.
func slowReader(t *testing.T, c *cluster) {
	t.Helper()
	const channel = "live/slow"
	var mu sync.Mutex
	var latencies []time.Duration
	heard := func(key string) {
		sent, _, _ := strings.Cut(key, " ")
		if n, err := strconv.ParseInt(sent, 10, 64); err == nil {
			mu.Lock()
			latencies = append(latencies, time.Since(time.Unix(0, n)))
			mu.Unlock()
		}
	}
	p99 := func() time.Duration { // since it was asked last
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(latencies)
		defer func() { latencies = nil }()
		if len(latencies) == 0 {
			return time.Hour
		}
		return latencies[len(latencies)*99/100].Round(100 * time.Microsecond)
	}
	var others []*peer
	for i := range 6 {
		others = append(others, c.join(t, &peer{name: fmt.Sprint("reader-", i), channels: []string{channel}, pin: i % nodes, pinned: true, heard: heard}))
	}
	ctx, stop := context.WithTimeout(t.Context(), 60*time.Second)
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	padding := strings.Repeat("x", 40<<10)
	group.Go(func() { // 2 MB/s
		others[0].mu.Lock()
		to := others[0].conn
		others[0].mu.Unlock()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for to != nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			others[0].write(to, fields{"action": "message", "options": fields{"channel": channel}, "payload": fields{"key": fmt.Sprint(time.Now().UnixNano(), " ", padding)}})
		}
	})
	pause(ctx, 3*time.Second)
	before := p99()

	slow := &peer{name: "slow", cluster: c, position: map[string][2]string{}}
	slow.ctx, slow.cancel = context.WithCancel(t.Context())
	defer slow.cancel()
	conn, err := slow.dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()        //nolint:errcheck // the server closes it
	slow.sendJoin(conn, channel) // and it never reads
	joined := time.Now()
	if err := await(ctx, 40*time.Second, func() error {
		text, err := metrics(ctx, c.gateways[0])
		if err != nil {
			return err
		}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(line, "fanfare_evictions_total{") && !strings.HasSuffix(line, " 0") {
				return nil
			}
		}
		return errors.New("the slow reader is not closed")
	}); err != nil {
		t.Error(err)
	}
	took := time.Since(joined)
	pause(ctx, 2*time.Second)
	after := p99()
	t.Logf("closed after %s; 99 %% of the others' messages came within %s before it joined and within %s since", took.Round(time.Millisecond), before, after)
	if after > before+time.Second {
		t.Error("the others feel it")
	}
	for _, p := range others {
		p.mu.Lock()
		if p.rejoined != 1 {
			t.Errorf("%s lost its connection: %v", p.name, p.closes)
		}
		p.mu.Unlock()
	}
}

// metrics is what a process says at /metrics.
func metrics(ctx context.Context, p *process) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+"/metrics", nil)
	if err != nil {
		return "", err
	}
	response, err := probes.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// rollingRestart: all gateways end in order, one after the other, under load and with clients that come back as stock
// ones do: after exactly one second. Nothing is missing.
func rollingRestart(t *testing.T, c *cluster) {
	t.Helper()
	l := c.newLoad(t, "rolling", 3, 3, 6, 100*time.Millisecond)
	const crowd = 500
	var stock []*peer
	for i := range crowd {
		p := &peer{name: fmt.Sprint("stock-", i), check: l.check, channels: []string{l.channels[i%3]}, pin: i % nodes, pause: time.Second}
		c.begin(t, p)
		stock = append(stock, p)
	}
	l.peers = append(l.peers, stock...)
	if err := await(t.Context(), 60*time.Second, l.converged); err != nil {
		t.Fatal(err)
	}
	l.send()
	var ends []time.Time
	for _, g := range c.gateways {
		begun := time.Now()
		ends = append(ends, begun)
		code, err := g.term(60 * time.Second)
		if err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v", g.name, code, err)
		}
		t.Logf("%s ended in %s", g.name, time.Since(begun).Round(time.Millisecond))
		if err := g.start(); err != nil {
			t.Fatal(err)
		}
		if err := c.settle(t.Context(), 60*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	l.verify()
	codes := map[string]int{}
	spread := make([][10]int, len(ends)) // closes in 250 ms after the signal
	for _, p := range l.peers {
		p.mu.Lock()
		for _, at := range p.closedAt {
			for i := len(ends) - 1; i >= 0; i-- {
				if after := at.Sub(ends[i]); after >= 0 {
					spread[i][min(int(after/(250*time.Millisecond)), 9)]++
					break
				}
			}
		}
		for code, n := range p.closes {
			codes[code] += n
		}
		p.mu.Unlock()
	}
	t.Logf("close codes: %v; closes per 250 ms of each gateway's window of 2 s: %v", codes, spread)
	for i, window := range spread {
		total, most := 0, 0
		for _, n := range window {
			total, most = total+n, max(most, n)
		}
		if total > 40 && most > total/2 {
			t.Errorf("gateway %d: %d of %d closes within 250 ms", i, most, total)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if code != "1012" {
			t.Errorf("%d connections ended with %s instead of 1012", codes[code], code)
		}
	}
}

// killedBrokers: kill -9 of each broker in turn, so that every stream loses its leader under load: publishing stalls for
// an election and nothing is lost.
func killedBrokers(t *testing.T, c *cluster) {
	t.Helper()
	l := c.newLoad(t, "leaders", 8, 3, 8, 50*time.Millisecond)
	l.send()
	pause(t.Context(), time.Second)
	for _, b := range c.brokers {
		l.slowest.Store(0)
		before := l.check.Counts().Acked
		b.kill()
		pause(t.Context(), 2*time.Second)
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
		if err := c.settle(t.Context(), 60*time.Second); err != nil {
			t.Fatal(err)
		}
		// A publisher that waits has at most 16 on their way: all answered means that all streams have leaders again.
		answered := l.check.Counts().Acked
		if err := await(t.Context(), 30*time.Second, func() error {
			if l.check.Counts().Acked < answered+300 {
				return errors.New("too few acknowledgements")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		t.Logf("kill -9 of %s: %d acknowledged since, the slowest in %s", b.name, l.check.Counts().Acked-before, time.Duration(l.slowest.Load()).Round(time.Millisecond))
	}
	l.verify()
}

// brokersDown: all brokers are gone for 20 s and come back: all is right again within 15 s, without a restart of any
// gateway.
func brokersDown(t *testing.T, c *cluster) {
	t.Helper()
	l := c.newLoad(t, "down", 3, 3, 3, 200*time.Millisecond)
	l.send()
	pause(t.Context(), 3*time.Second)
	before := l.check.Counts().Acked
	if before == 0 {
		t.Fatal("nothing was acknowledged")
	}
	for _, b := range c.brokers {
		b.kill()
	}
	pause(t.Context(), 6*time.Second)
	for _, g := range c.gateways { // /readyz tells it after 3 s; the processes live on
		if err := g.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not ready") {
			t.Errorf("%s with all brokers down for 6 s: %v", g.name, err)
		}
	}
	pause(t.Context(), 14*time.Second)
	for _, b := range c.brokers {
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	since := func() time.Duration { return time.Since(begun).Round(10 * time.Millisecond) }
	if err := c.settle(t.Context(), 60*time.Second); err != nil {
		t.Fatal(err)
	}
	ready := since()
	down := l.check.Counts().Acked
	if err := await(t.Context(), 60*time.Second, func() error {
		if l.check.Counts().Acked < down+10 {
			return errors.New("nothing is acknowledged")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	acked := since()
	if err := await(t.Context(), 60*time.Second, l.converged); err != nil {
		t.Error(err)
	}
	took := since()
	t.Logf("after the brokers' start: ready in %s, acknowledging in %s, presence right in %s", ready, acked, took)
	if took > 15*time.Second {
		t.Errorf("right again only %s after the brokers' start", took)
	}
	l.verify()
	codes := map[string]int{}
	for _, p := range l.peers {
		p.mu.Lock()
		for code, n := range p.closes {
			codes[code] += n
		}
		p.mu.Unlock()
	}
	t.Logf("close codes: %v", codes)
	if codes["1013"] == 0 || len(codes) != 1 { // after 15 s clients are sent away, and nothing else happens to them
		t.Errorf("close codes %v, want 1013 only", codes)
	}
}
