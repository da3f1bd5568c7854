package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

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
	p99 := func() time.Duration { // since it was asked last; an hour without any
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
		others = append(others, c.join(t, &peer{name: fmt.Sprint("reader-", i), channels: []string{channel}, pin: i % nodes, pinned: true, heard: heard, deaf: time.Minute}))
	}
	ctx, stop := context.WithTimeout(t.Context(), 60*time.Second)
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	padding := strings.Repeat("x", 40<<10)
	group.Go(func() { // 2 MB/s
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			others[0].shout(channel, fmt.Sprint(time.Now().UnixNano(), " ", padding))
		}
	})
	pause(ctx, 3*time.Second)
	before := p99()

	look := func() (n float64, err error) {
		for _, g := range c.gateways {
			one, err := metric(ctx, g, "fanfare_evictions_total")
			if err != nil {
				return 0, err
			}
			n += one
		}
		return n, nil
	}
	evicted := func() (n float64) { // it is asked again when a gateway is slow to answer
		if err := await(ctx, 30*time.Second, func() (err error) { n, err = look(); return err }); err != nil {
			t.Error(err)
		}
		return n
	}
	at := c.gateways[0]
	already := evicted()
	memory, _ := at.rss()
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
	backlog, grown := 0.0, 0
	if err := await(ctx, 40*time.Second, func() error {
		high, err := metric(ctx, at, "fanfare_backlog_high_water_bytes")
		if err != nil {
			return err
		}
		now, _ := at.rss()
		backlog, grown = max(backlog, high), max(grown, now-memory)
		if n, err := look(); err != nil || n == already {
			return errors.Join(errors.New("the slow reader is not closed"), err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	took := time.Since(joined)
	if high, err := metric(ctx, at, "fanfare_backlog_high_water_bytes"); err == nil {
		backlog = max(backlog, high) // it is noted when the socket is closed
	}
	pause(ctx, 2*time.Second)
	after := p99()
	t.Logf("closed after %s; 99 %% of the others' messages came within %s before it joined and within %s since; its backlog was at most %.0f KiB, the gateway grew by %d MiB",
		took.Round(time.Millisecond), before, after, backlog/1024, grown)
	if n := evicted() - already; n != 1 {
		t.Errorf("%v sockets were closed for being slow, want the one", n)
	}
	if backlog < 256<<10 || backlog > 512<<10 {
		t.Errorf("a backlog of %.0f bytes, where a socket may have 512 KiB and has taken almost that", backlog)
	}
	if grown > 64 {
		t.Errorf("the gateway grew by %d MiB for one slow reader", grown)
	}
	if after == time.Hour || before == time.Hour {
		t.Error("the others got nothing")
	}
	for _, p := range others {
		p.mu.Lock()
		if p.rejoined != 1 {
			t.Errorf("%s lost its connection: %v", p.name, p.closes)
		}
		p.mu.Unlock()
	}
}
