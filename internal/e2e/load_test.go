package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is traffic that a checker watches: everybody follows, some publish.
type load struct {
	t        *testing.T
	cluster  *cluster
	check    *Checker
	channels []string
	peers    []*peer
	senders  []*peer
	each     time.Duration

	stopSending context.CancelFunc
	sending     sync.WaitGroup
	sent        atomic.Int64
	unknown     atomic.Int64
	errors      sync.Map // text → true
	slowest     atomic.Int64
	lastAck     atomic.Int64 // Unix nanoseconds
	stall       atomic.Int64 // longest time without any acknowledgement
}

// newLoad starts followers of all channels and publishers; send starts the traffic, when everybody is there.
func (c *cluster) newLoad(t *testing.T, tag string, channels, followers, publishers int, each time.Duration) *load {
	t.Helper()
	l := &load{t: t, cluster: c, check: NewChecker(), each: each}
	for i := range channels {
		l.channels = append(l.channels, fmt.Sprintf("room/%s-%d", tag, i))
	}
	for i := range followers {
		l.peers = append(l.peers, &peer{name: fmt.Sprintf("%s-follower-%d", tag, i), check: l.check, channels: l.channels, pin: i % nodes, deaf: c.deaf})
	}
	for i := range publishers {
		p := &peer{name: fmt.Sprintf("%s-publisher-%d", tag, i), check: l.check, channels: []string{l.channels[i%channels]}, pin: i % nodes, deaf: c.deaf}
		l.senders, l.peers = append(l.senders, p), append(l.peers, p)
	}
	live := "live/" + tag
	for _, p := range l.peers { // besides, one channel without history
		p.channels = append(slices.Clone(p.channels), live)
	}
	for _, p := range l.peers {
		c.join(t, p)
	}
	return l
}

func (l *load) send() {
	ctx, stop := context.WithCancel(l.t.Context())
	l.stopSending = stop
	l.lastAck.Store(time.Now().UnixNano())
	for _, p := range l.senders {
		l.sending.Go(func() { l.publish(ctx, p, l.each) })
	}
}

// publish sends at a steady pace, some at a time. Each key is sent once: after an unknown outcome nobody knows.
func (l *load) publish(ctx context.Context, p *peer, each time.Duration) {
	tick := time.NewTicker(each)
	defer tick.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, 16)
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if p.self(p.channels[0]) == "" { // away: nothing is sent
			<-slots
			continue
		}
		l.sent.Add(1)
		channel := p.channels[0]
		if n%8 == 7 {
			channel = p.channels[len(p.channels)-1]
		}
		begun := time.Now()
		// A sender is a socket: what a lost one had handed to a gateway that hangs may come after its successor's.
		wait := p.post(channel, fmt.Sprintf("%s#%d/%d", p.name, p.connection(), n), nil)
		group.Go(func() {
			defer func() { <-slots }()
			_, err := wait()
			if err == nil {
				raise(&l.slowest, int64(time.Since(begun)))
				now := time.Now().UnixNano()
				raise(&l.stall, now-l.lastAck.Swap(now))
				return
			}
			r, no := errors.AsType[refusal](err)
			if !no || r.code != "unavailable" {
				l.unknown.Add(1)
			}
			if !errors.Is(err, errLost) {
				l.errors.Store(err.Error(), true)
			}
		})
	}
}

func raise(a *atomic.Int64, to int64) {
	for {
		now := a.Load()
		if to <= now || a.CompareAndSwap(now, to) {
			return
		}
	}
}

// stop ends the sending and waits for answers.
func (l *load) stop() {
	l.stopSending()
	l.sending.Wait()
}

// really is who is on a channel.
func (l *load) really(channel string) map[string]string {
	out := map[string]string{}
	for _, p := range l.peers {
		if s := p.self(channel); s != "" {
			out[s] = p.name
		}
	}
	return out
}

// converged tells whether all views of all channels are right.
func (l *load) converged() error {
	for _, p := range l.peers {
		if err := p.there(); err != nil {
			return err
		}
	}
	var problems []string
	for _, channel := range l.channels {
		really := l.really(channel)
		var observers []string
		for _, p := range l.peers {
			if slices.Contains(p.channels, channel) {
				observers = append(observers, p.name)
			}
		}
		problems = append(problems, l.check.Presence(channel, observers, really)...)
	}
	return first(problems)
}

// first gives some problems as an error.
func first(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	more := ""
	if len(problems) > 8 {
		more = fmt.Sprintf("\nand %d more", len(problems)-8)
	}
	return errors.New(strings.Join(problems[:min(8, len(problems))], "\n") + more)
}

// verify stops the load and proves that everything is right.
func (l *load) verify() {
	t, c := l.t, l.cluster
	t.Helper()
	l.stop()
	begun := time.Now()
	if err := await(t.Context(), patience, func() error { return first(l.check.Behind()) }); err != nil {
		t.Error(err)
	}
	if err := await(t.Context(), patience, l.converged); err != nil {
		t.Errorf("presence: %v", err)
	}
	c.machine.within(t, "complete and converged after the last message", begun, time.Since(begun), 30*time.Second)
	for at := range nodes {
		histories := map[string][]Entry{}
		for _, channel := range l.channels {
			var err error
			if histories[channel], err = c.history(t.Context(), at, channel); err != nil {
				t.Error(err)
			}
		}
		// Messages that nobody was told about may still be on their way to somebody.
		if err := await(t.Context(), patience, func() error { return first(l.check.Messages(histories)) }); err != nil {
			t.Errorf("by the history at gateway %d: %v", at, err)
		}
	}
	l.recorded()
	n, rejoined := l.check.Counts(), 0
	for _, p := range l.peers {
		p.mu.Lock()
		rejoined += p.rejoined - 1
		p.mu.Unlock()
	}
	var texts []string
	l.errors.Range(func(k, _ any) bool { texts = append(texts, k.(string)); return true })
	t.Logf("%d sent, %d acknowledged, %d of unknown outcome, %d deliveries, %d connections made again, %d resumes not proved whole, %d messages without history, %d refused; slowest acknowledgement %s, longest time without one %s; errors %q",
		l.sent.Load(), n.Acked, l.unknown.Load(), n.Delivered, rejoined, n.Unproved, n.Unstored, n.Refused,
		time.Duration(l.slowest.Load()).Round(time.Millisecond), time.Duration(l.stall.Load()).Round(time.Millisecond), texts)
	if n.Acked == 0 {
		t.Error("nothing was acknowledged")
	}
}
