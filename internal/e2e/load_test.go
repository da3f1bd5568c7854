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

	stopSending context.CancelFunc
	sending     sync.WaitGroup
	sent        atomic.Int64
	unknown     atomic.Int64
	refused     sync.Map // text → true
	slowest     atomic.Int64
	lastAck     atomic.Int64 // Unix nanoseconds
	stall       atomic.Int64 // longest time without any acknowledgement
}

// newLoad starts followers of all channels and publishers, and their traffic.
func (c *cluster) newLoad(t *testing.T, tag string, channels, followers, publishers int, each time.Duration) *load {
	t.Helper()
	l := &load{t: t, cluster: c, check: NewChecker()}
	for i := range channels {
		l.channels = append(l.channels, fmt.Sprintf("room/%s-%d", tag, i))
	}
	var senders []*peer
	for i := range followers {
		l.peers = append(l.peers, &peer{name: fmt.Sprintf("%s-follower-%d", tag, i), check: l.check, channels: l.channels, pin: i % nodes})
	}
	for i := range publishers {
		p := &peer{name: fmt.Sprintf("%s-publisher-%d", tag, i), check: l.check, channels: []string{l.channels[i%channels]}, pin: i % nodes}
		senders, l.peers = append(senders, p), append(l.peers, p)
	}
	for _, p := range l.peers {
		c.join(t, p)
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stopSending = stop
	l.lastAck.Store(time.Now().UnixNano())
	for _, p := range senders {
		l.sending.Go(func() { l.publish(ctx, p, each) })
	}
	return l
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
		group.Go(func() {
			defer func() { <-slots }()
			begun := time.Now()
			_, err := p.send(p.channels[0], fmt.Sprintf("%s/%d", p.name, n), nil)
			switch {
			case err == nil:
				raise(&l.slowest, int64(time.Since(begun)))
				now := time.Now().UnixNano()
				raise(&l.stall, now-l.lastAck.Swap(now))
			default:
				l.unknown.Add(1)
				if !errors.Is(err, errLost) {
					l.refused.Store(err.Error(), true)
				}
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
	if err := await(t.Context(), 60*time.Second, func() error { return first(l.check.Behind()) }); err != nil {
		t.Error(err)
	}
	if err := await(t.Context(), 40*time.Second, l.converged); err != nil {
		t.Errorf("presence: %v", err)
	}
	t.Logf("complete and converged %s after the last message", time.Since(begun).Round(time.Millisecond))
	for at := range nodes {
		histories := map[string][]Entry{}
		for _, channel := range l.channels {
			var err error
			if histories[channel], err = c.history(t.Context(), at, channel); err != nil {
				t.Error(err)
			}
		}
		// Messages that nobody was told about may still be on their way to somebody.
		if err := await(t.Context(), 20*time.Second, func() error { return first(l.check.Messages(histories)) }); err != nil {
			t.Errorf("by the history at gateway %d: %v", at, err)
		}
	}
	n, rejoined := l.check.Counts(), 0
	for _, p := range l.peers {
		p.mu.Lock()
		rejoined += p.rejoined - 1
		p.mu.Unlock()
	}
	var refused []string
	l.refused.Range(func(k, _ any) bool { refused = append(refused, k.(string)); return true })
	t.Logf("%d sent, %d acknowledged, %d of unknown outcome, %d deliveries, %d connections made again, %d resumes not proved whole; slowest acknowledgement %s, longest time without one %s; errors %q",
		l.sent.Load(), n.Acked, l.unknown.Load(), n.Delivered, rejoined, n.Unproved,
		time.Duration(l.slowest.Load()).Round(time.Millisecond), time.Duration(l.stall.Load()).Round(time.Millisecond), refused)
	if n.Acked == 0 {
		t.Error("nothing was acknowledged")
	}
}
