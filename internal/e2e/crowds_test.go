package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// seen tells whether observers all see so many in a channel.
func seen(check *Checker, observers []*peer, channel string, want int) func() error {
	return func() error {
		for _, o := range observers {
			if n := len(check.View(o.name, channel)); n != want {
				return fmt.Errorf("%s sees %d, want %d", o.name, n, want)
			}
		}
		return nil
	}
}

// killedGateway: presence is right within 10 s of the kill -9 of a gateway with all members but the observers.
func killedGateway(t *testing.T, c *cluster) {
	t.Helper()
	const channel, members = "room/killed", 2000
	check := NewChecker()
	var observers []*peer
	for i := 1; i < nodes; i++ {
		observers = append(observers, c.join(t, &peer{name: fmt.Sprint("observer-", i), check: check, channels: []string{channel}, pin: i, pinned: true}))
	}
	crowd := c.crowd(t, crowdSpec{Addrs: c.addrs[:1], Channel: channel, N: members, Pace: 250, Options: `{"history":false,"presence":false}`})
	if err := await(t.Context(), patience, seen(check, observers, channel, members+len(observers))); err != nil {
		t.Fatal(err)
	}
	c.gateways[0].kill()
	begun := time.Now()
	if err := await(t.Context(), patience, seen(check, observers, channel, len(observers))); err != nil {
		t.Error(err)
	}
	c.machine.within(t, fmt.Sprintf("presence after kill -9 of a gateway with %d members", members), begun, time.Since(begun), 10*time.Second)
	crowd.end()
	if err := c.gateways[0].start(); err != nil {
		t.Fatal(err)
	}
	if err := first(check.Messages(nil)); err != nil {
		t.Error(err)
	}
}

// largeChannel: a channel with members on all gateways, each a socket of its own; everybody who looks sees all, and no
// more than those who are there when a gateway dies.
func largeChannel(t *testing.T, c *cluster) {
	t.Helper()
	const channel = "room/large"
	members := size(3000, 20001) / nodes * nodes
	check := NewChecker()
	var observers []*peer
	for i := range nodes - 1 {
		observers = append(observers, c.join(t, &peer{name: fmt.Sprint("looker-", i), check: check, channels: []string{channel}, pin: i, pinned: true, deaf: 20 * time.Second}))
	}
	begun := time.Now()
	spec := crowdSpec{Channel: channel, N: members / nodes * (nodes - 1), Addrs: c.addrs[:nodes-1], Pace: 500, Options: `{"history":false,"presence":false}`}
	stay := c.crowd(t, spec)
	spec.N, spec.Addrs, spec.Pace = members/nodes, c.addrs[nodes-1:], 250
	die := c.crowd(t, spec)
	if err := await(t.Context(), 5*patience, seen(check, observers, channel, members+len(observers))); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d members of one channel, all seen %s after the first began to join; the gateways have %s", members, time.Since(begun).Round(time.Millisecond), c.memory())
	for at := range nodes {
		begun := time.Now()
		listed, err := c.members(t.Context(), at, channel)
		if err != nil || len(listed) != members+len(observers) {
			t.Errorf("gateway %d lists %d members: %v", at, len(listed), err)
		}
		t.Logf("gateway %d lists them, 1000 at a time, in %s", at, time.Since(begun).Round(time.Millisecond))
	}
	// One who comes now gets all of them at once.
	late := c.join(t, &peer{name: "late", check: check, channels: []string{channel}, pin: 0, pinned: true})
	observers = append(observers, late)
	if err := await(t.Context(), patience, seen(check, observers, channel, members+len(observers))); err != nil {
		t.Error(err)
	}
	c.gateways[nodes-1].kill()
	begun = time.Now()
	if err := await(t.Context(), patience, seen(check, observers, channel, members/nodes*(nodes-1)+len(observers))); err != nil {
		t.Error(err)
	}
	c.machine.within(t, fmt.Sprintf("presence of %d members after kill -9 of a gateway with a third of them", members), begun, time.Since(begun), 10*time.Second)
	die.end()
	if err := c.gateways[nodes-1].start(); err != nil {
		t.Fatal(err)
	}
	stay.end()
	if err := await(t.Context(), patience, seen(check, observers, channel, len(observers))); err != nil {
		t.Errorf("after all have gone: %v", err)
	}
	if err := first(check.Messages(nil)); err != nil {
		t.Error(err)
	}
}

// memory tells what the gateways have.
func (c *cluster) memory() (text string) {
	for _, g := range c.gateways {
		now, most := g.rss()
		text += fmt.Sprintf("%d MiB (at most %d) ", now, most)
	}
	return text + "of memory"
}

// stampede: everybody was on one gateway, which is killed and later another ended in order; all come back to the others,
// those of the killed one at the same instant, as stock clients do. The others let in what they can, the rest later, and
// whoever was there before notices nothing.
func stampede(t *testing.T, c *cluster) {
	t.Helper()
	const channel = "live/bystanders"
	members := size(1500, 5000)
	var mu sync.Mutex
	var lags []int64
	heard := func(key string) {
		if n, err := strconv.ParseInt(key, 10, 64); err == nil {
			mu.Lock()
			lags = append(lags, time.Since(time.Unix(0, n)).Microseconds())
			mu.Unlock()
		}
	}
	lag := func() string { // since it was asked last
		mu.Lock()
		defer mu.Unlock()
		text := fmt.Sprintf("%.1f ms", float64(quantile(lags, 0.99))/1000)
		lags = nil
		return text
	}
	const survivor = nodes - 1 // stays all the time
	var bystanders []*peer
	for i := range 4 {
		bystanders = append(bystanders, c.join(t, &peer{name: fmt.Sprint("bystander-", i), channels: []string{channel}, pin: survivor, pinned: true, heard: heard, deaf: time.Minute}))
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				bystanders[0].shout(channel, strconv.FormatInt(now.UnixNano(), 10))
			case <-ctx.Done():
				return
			}
		}
	})
	crowd := c.crowd(t, crowdSpec{
		Addrs: c.addrs[:1], Channel: "room/stampede", Channels: members / 50, N: members, Pace: 250, Options: `{"history":true,"presence":true}`, Users: true,
	})
	if err := crowd.joined(t.Context(), members, patience); err != nil {
		t.Fatal(err)
	}
	lag()
	pause(t.Context(), 3*time.Second)
	t.Logf("%d sockets on one gateway, in channels of 50; 99 %% of the bystanders' messages within %s; %s", members, lag(), c.memory())
	for i, end := range []func(*process) error{
		func(p *process) error { p.kill(); return nil },
		func(p *process) error {
			code, err := p.term(patience)
			if err == nil && code != 0 {
				err = fmt.Errorf("exit code %d", code)
			}
			return err
		},
	} {
		victim := c.gateways[i]
		others := slices.Delete(slices.Clone(c.addrs), i, i+1)
		before := crowd.state()
		crowd.forget()
		crowd.to(others...)
		begun := time.Now()
		if err := end(victim); err != nil {
			t.Errorf("%s: %v", victim.name, err)
		}
		var s crowdState
		if err := await(t.Context(), patience, func() error {
			s = crowd.state()
			lost := s.Opened - before.Opened
			if closed := total(s.Closes) - total(before.Closes); s.Joined != members || lost == 0 || lost != closed {
				return fmt.Errorf("%d of the crowd are in, %d were closed, %d connections made again", s.Joined, closed, lost)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		took := time.Since(begun)
		for code, n := range before.Closes {
			s.Closes[code] -= n
		}
		for code, n := range before.Refused {
			s.Refused[code] -= n
		}
		t.Logf("%s ended (%s): all of %d back after %s, each after %.1f s (median), %.1f s (99 %%), %.1f s (last); closes: %s; upgrades not let in: %s; 99 %% of the bystanders' messages within %s; %s",
			victim.name, []string{"kill -9", "SIGTERM"}[i], total(s.Closes), took.Round(10*time.Millisecond),
			float64(quantile(s.Late, 0.5))/1000, float64(quantile(s.Late, 0.99))/1000, float64(quantile(s.Late, 1))/1000,
			counts(s.Closes), counts(s.Refused), lag(), c.memory())
		for code, n := range s.Closes {
			if want := []int{-1, 1012}[i]; code != want && n > 0 {
				t.Errorf("%d connections ended with %d, want %d only", n, code, want)
			}
		}
		if i == 0 && s.Refused[503] == 0 && took < 2*time.Second { // slow clients may come one after the other
			t.Errorf("all were back after %s and nobody was told to come later", took)
		}
		if err := victim.start(); err != nil {
			t.Fatal(err)
		}
		if err := c.settle(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range bystanders {
		if n := p.connection(); n != 1 {
			t.Errorf("%s made %d connections", p.name, n)
		}
	}
	if now, _ := c.gateways[survivor].rss(); now > 1024 {
		t.Errorf("the survivor has %d MiB", now)
	}
	crowd.end()
}
