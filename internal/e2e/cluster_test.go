package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
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
		{"large channel", largeChannel},
		{"stampede", stampede},
		{"slow reader", slowReader},
		{"rolling restart", rollingRestart},
		{"rolling brokers", rollingBrokers},
		{"killed brokers", killedBrokers},
		{"cut gateway", cutGateway},
		{"fenced gateway", fencedGateway},
		{"faults", faults},
		{"brokers down", brokersDown},
	} {
		c.deaf = 20 * time.Second
		if !t.Run(part.name, func(t *testing.T) { part.run(t, c) }) {
			c.dump()
		}
		if err := c.settle(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
	}
}

// patience is how long a condition is waited for that must come, and about whose time nothing is promised.
const patience = 2 * time.Minute

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
	users := map[string]*peer{}
	for i := range crowd {
		p := &peer{
			name: fmt.Sprint("stock-", i), check: l.check, channels: []string{l.channels[i%3]}, pin: i % nodes,
			pause: time.Second, deaf: 20 * time.Second, token: token(7, 1000+i),
		}
		c.begin(t, p)
		users[fmt.Sprint(1000+i)] = p
		l.peers = append(l.peers, p)
	}
	if err := await(t.Context(), patience, l.converged); err != nil {
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
		if err := c.settle(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
	}
	l.verify()
	l.noStorm(users)
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
		if total > 40 && most > total*3/4 {
			t.Errorf("gateway %d: %d of %d closes within 250 ms", i, most, total)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if code != "1012" {
			t.Errorf("%d connections ended with %s instead of 1012", codes[code], code)
		}
	}
}

// noStorm: nobody was seen leaving who came straight back as the same user, and nobody was told of more comings and
// goings than there were.
func (l *load) noStorm(users map[string]*peer) {
	l.t.Helper()
	gone := map[string]int{}
	for _, name := range l.check.Vanished() {
		gone[name]++
	}
	excused := 0
	for name, n := range gone {
		p := users[name]
		if p == nil {
			continue
		}
		p.mu.Lock()
		away := p.away
		p.mu.Unlock()
		if away > 8*time.Second { // the grace is 10 s
			excused++
			continue
		}
		l.t.Errorf("%s was away for at most %s and was seen leaving by %d others", p.name, away.Round(time.Millisecond), n)
	}
	connections := map[string]int{} // by channel
	for _, p := range l.peers {
		for _, channel := range p.channels {
			connections[channel] += p.connection()
		}
	}
	var joins, leaves []int64
	for _, p := range l.peers {
		most := 0
		for _, channel := range p.channels {
			most += connections[channel]
		}
		moves := l.check.Moves(p.name)
		joins, leaves = append(joins, int64(moves.Joins)), append(leaves, int64(moves.Leaves))
		if moves.Joins > most || moves.Leaves > most {
			l.t.Errorf("%s saw %d joins and %d leaves, of %d connections that there were", p.name, moves.Joins, moves.Leaves, most)
		}
	}
	l.t.Logf("%d users, none seen leaving who came straight back (%d were away for more than 8 s and were); joins and leaves that one observer saw: median %d and %d, most %d and %d",
		len(users), excused, quantile(joins, 0.5), quantile(leaves, 0.5), quantile(joins, 1), quantile(leaves, 1))
}

// rollingBrokers: each broker ends in order and comes back. It moves its leaders and sends its gateways to the others: every
// message is acknowledged, none is refused, none is of unknown outcome.
func rollingBrokers(t *testing.T, c *cluster) {
	t.Helper()
	l := c.newLoad(t, "lameduck", 4, 3, 6, 50*time.Millisecond)
	l.send()
	for _, b := range c.brokers {
		l.slowest.Store(0)
		before := l.check.Counts().Acked
		code, err := b.term(patience)
		if err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v", b.name, code, err)
		}
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
		if err := c.settle(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
		t.Logf("SIGTERM of %s: %d acknowledged since, the slowest in %s", b.name, l.check.Counts().Acked-before, time.Duration(l.slowest.Load()).Round(time.Millisecond))
	}
	l.verify()
	if n := l.check.Counts(); l.unknown.Load() > 0 || n.Refused > 0 {
		t.Errorf("%d of unknown outcome, %d refused", l.unknown.Load(), n.Refused)
	}
	for _, p := range l.peers {
		if n := p.connection(); n != 1 {
			t.Errorf("%s made %d connections", p.name, n)
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
		if err := c.settle(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
		// A publisher that waits has at most 16 on their way: all answered means that all streams have leaders again.
		answered := l.check.Counts().Acked
		if err := await(t.Context(), patience, func() error {
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

// cutGateway: one gateway loses all brokers. It keeps its sockets, says so (readiness, errors to publishers), sends its
// clients to the others after a while, and is right again by itself when the links are back.
func cutGateway(t *testing.T, c *cluster) {
	t.Helper()
	l := c.newLoad(t, "cut", 3, 3, 6, 100*time.Millisecond)
	l.send()
	pause(t.Context(), 2*time.Second)
	const at = 1
	for _, link := range c.links[at] {
		link.refuseAll(true)
	}
	cut := time.Now()
	g := c.gateways[at]
	if err := await(t.Context(), 15*time.Second, func() error {
		if err := g.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not ready") {
			return fmt.Errorf("%s without a broker: %w", g.name, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	unready := time.Since(cut)
	closes := func() (codes map[string]int, n int) {
		codes = map[string]int{}
		for _, p := range l.peers {
			p.mu.Lock()
			for code, k := range p.closes {
				codes[code] += k
				n += k
			}
			p.mu.Unlock()
		}
		return codes, n
	}
	here := 0
	for _, p := range l.peers {
		if p.pin == at {
			here++
		}
	}
	if _, n := closes(); n > 0 && time.Since(cut) < 10*time.Second {
		t.Errorf("%d connections ended %s after the cut", n, time.Since(cut))
	}
	// Those who come back may be sent to the same one by chance, which lets nobody stay.
	if err := await(t.Context(), patience, func() error {
		if _, n := closes(); n < here {
			return fmt.Errorf("%d of %d clients were sent away", n, here)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	away := time.Since(cut)
	for _, link := range c.links[at] {
		link.refuseAll(false)
	}
	healed := time.Now()
	if err := c.settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	if err := await(t.Context(), patience, l.converged); err != nil {
		t.Error(err)
	}
	codes, _ := closes()
	t.Logf("cut from all brokers: not ready after %s, all clients sent away after %s; close codes %v", unready.Round(10*time.Millisecond), away.Round(10*time.Millisecond), codes)
	c.machine.within(t, "right again after the links were back", healed, time.Since(healed), 15*time.Second)
	l.verify()
	if codes["1013"] < here || len(codes) != 1 {
		t.Errorf("close codes %v, want 1013 only", codes)
	}
}

// fencedGateway: one gateway stands still for longer than its lease and goes on: it is dead to the others by then, and
// must not bring back what it had. Only in the long run.
func fencedGateway(t *testing.T, c *cluster) {
	t.Helper()
	if !long() {
		return
	}
	c.deaf = 4 * time.Second
	l := c.newLoad(t, "fenced", 3, 6, 6, 100*time.Millisecond)
	l.send()
	pause(t.Context(), 2*time.Second)
	g := c.gateways[1]
	g.signal(syscall.SIGSTOP)
	pause(t.Context(), 26*time.Second)
	g.signal(syscall.SIGCONT)
	if err := c.settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	lost, err := metric(t.Context(), g, "fanfare_presence_lease_losses_total")
	if err != nil || lost == 0 {
		t.Errorf("the gateway lost %v leases: %v", lost, err)
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
	gone := time.Now()
	for _, g := range c.gateways { // /readyz tells it after 3 s; the processes live on
		if err := await(t.Context(), 15*time.Second, func() error {
			if err := g.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not ready") {
				return fmt.Errorf("%s with all brokers down: %w", g.name, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	pause(t.Context(), 20*time.Second-time.Since(gone))
	for _, b := range c.brokers {
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	since := func() time.Duration { return time.Since(begun).Round(10 * time.Millisecond) }
	if err := c.settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	ready := since()
	down := l.check.Counts().Acked
	if err := await(t.Context(), patience, func() error {
		if l.check.Counts().Acked < down+10 {
			return errors.New("nothing is acknowledged")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	acked := since()
	if err := await(t.Context(), patience, l.converged); err != nil {
		t.Error(err)
	}
	took := since()
	t.Logf("after the brokers' start: ready in %s, acknowledging in %s, presence right in %s", ready, acked, took)
	c.machine.within(t, "right again after all brokers were down for 20 s", begun, took, 15*time.Second)
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
