package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"fanfare/client"
	"fanfare/internal/e2e"
)

// inFlight bounds the messages of one sender that wait for an acknowledgement.
const inFlight = 16

// traffic is the clients and what they saw.
type traffic struct {
	o        options
	check    *e2e.Checker
	names    []string // channels
	peers    []*peer
	watching sync.WaitGroup
	sending  sync.WaitGroup
	stop     context.CancelFunc
	end      context.CancelFunc

	mu    sync.Mutex // guards what follows
	phase phase
}

// phase is what happened since a mark.
type phase struct {
	Phase       string `json:"phase"`
	Sockets     int    `json:"sockets"`
	Acked       int    `json:"acked"`
	Unknown     int    `json:"unknown"` // of unknown outcome
	Refused     int    `json:"refused"` // the sender was told that it was not sent
	Deliveries  int    `json:"deliveries"`
	Reconnected int    `json:"reconnected"`
	Unproved    int    `json:"unproved"` // resumes that the server did not prove whole
	SlowestMs   int64  `json:"slowest_ms"`
	StallMs     int64  `json:"stall_ms"` // longest time without any acknowledgement
	// AwayMs is when, after the mark, somebody was away for the last time; WrongMs, when one who was there saw others
	// than those who were there. -1 = never.
	AwayMs  int64  `json:"away_ms"`
	WrongMs int64  `json:"wrong_ms"`
	Wrong   string `json:"wrong,omitempty"` // what, then
	Right   bool   `json:"right"`           // now, and all are there

	begun   time.Time
	lastAck time.Time
}

type peer struct {
	name   string
	sender bool
	client *client.Client
	rooms  map[string]*client.Channel

	mu   sync.Mutex
	self map[string]string // channel → own socket, while it is joined
}

func newTraffic(o options) *traffic {
	t := &traffic{o: o, check: e2e.NewChecker()}
	for i := range o.channels {
		t.names = append(t.names, fmt.Sprintf("%s%s-%d", o.prefix, o.tag, i))
	}
	for i := range o.followers + o.senders {
		t.peers = append(t.peers, &peer{
			name: fmt.Sprintf("%s-%d", o.tag, i), sender: i >= o.followers, rooms: map[string]*client.Channel{}, self: map[string]string{},
		})
	}
	t.begin("start")
	return t
}

// begin starts a phase.
func (t *traffic) begin(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.phase = phase{Phase: name, AwayMs: -1, WrongMs: -1, begun: now, lastAck: now}
}

// note changes the phase.
func (t *traffic) note(change func(p *phase)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.phase)
}

func (t *traffic) status(suffix string) phase {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.phase
	out.StallMs = max(out.StallMs, time.Since(out.lastAck).Milliseconds())
	if suffix != "" {
		out.Phase, out.StallMs = suffix, t.phase.StallMs
	}
	return out
}

// join brings everybody to their channels, before anything is sent.
func (t *traffic) join(ctx context.Context) error {
	watch, end := context.WithCancel(context.WithoutCancel(ctx))
	t.end = end
	for i, p := range t.peers {
		var err error
		if p.client, err = dial(ctx, t.o.url); err != nil {
			return err
		}
		rooms := t.names
		if p.sender {
			rooms = t.names[i%len(t.names) : i%len(t.names)+1]
		}
		for _, name := range rooms {
			ch := p.client.Channel(name, client.ChannelOptions{Presence: true})
			t.check.Subscribe(p.name, name)
			if err := ch.Join(ctx); err != nil {
				return fmt.Errorf("%s joins %s: %w", p.name, name, err)
			}
			p.rooms[name] = ch
			t.watching.Go(func() { t.watch(watch, p, ch) })
		}
	}
	return nil
}

// watch notes what happens on a channel until ctx ends.
func (t *traffic) watch(ctx context.Context, p *peer, ch *client.Channel) {
	deliver := func(m *client.Message) {
		var key string
		if m.Decode(&key) == nil {
			t.check.Deliver(p.name, ch.Name(), e2e.Entry{Key: key, ID: m.ID, Offset: m.Offset})
			t.note(func(p *phase) { p.Deliveries++ })
		}
	}
	for event, err := range ch.Events(ctx) {
		if err != nil {
			return
		}
		switch e := event.(type) {
		case *client.Message:
			deliver(e)
		case *client.History:
			for _, m := range e.Messages {
				deliver(m)
			}
		case *client.Gap:
			t.check.Unproved()
			t.note(func(p *phase) { p.Unproved++ })
		case *client.Joined:
			p.mu.Lock()
			p.self[ch.Name()] = e.Self.Socket
			p.mu.Unlock()
			if !e.First {
				t.note(func(p *phase) { p.Reconnected++ })
			}
		case *client.Disconnected:
			p.mu.Lock()
			delete(p.self, ch.Name())
			p.mu.Unlock()
		}
	}
}

// start lets the senders send.
func (t *traffic) start(ctx context.Context) {
	sending, stop := context.WithCancel(ctx)
	t.stop = stop
	t.begin("start")
	for _, p := range t.peers {
		if !p.sender {
			continue
		}
		for _, ch := range p.rooms {
			t.sending.Go(func() { t.send(sending, ctx, p, ch) })
		}
	}
}

// send sends at a steady pace until its first context ends; what is under way then still gets its answer.
func (t *traffic) send(until, ctx context.Context, p *peer, ch *client.Channel) {
	tick := time.NewTicker(t.o.each)
	defer tick.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, inFlight)
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-until.Done():
			return
		}
		select {
		case slots <- struct{}{}:
		case <-until.Done():
			return
		}
		group.Go(func() {
			defer func() { <-slots }()
			t.sendOne(ctx, ch, fmt.Sprintf("%s#%d", p.name, n))
		})
	}
}

func (t *traffic) sendOne(ctx context.Context, ch *client.Channel, key string) {
	begun := time.Now()
	receipt, err := ch.Send(ctx, key)
	switch {
	case err == nil:
		t.check.Ack(ch.Name(), e2e.Entry{Key: key, ID: receipt.ID, Offset: receipt.Offset})
		t.note(func(p *phase) {
			now := time.Now()
			p.Acked++
			p.SlowestMs = max(p.SlowestMs, now.Sub(begun).Milliseconds())
			p.StallMs = max(p.StallMs, now.Sub(p.lastAck).Milliseconds())
			p.lastAck = now
		})
	case errors.Is(err, client.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded):
		t.note(func(p *phase) { p.Unknown++ })
	default:
		t.note(func(p *phase) { p.Refused++ })
	}
}

// look compares what everybody sees with who is there.
func (t *traffic) look() {
	away, wrong := t.presence()
	sockets := 0
	for _, p := range t.peers {
		if p.client.Connected() {
			sockets++
		}
	}
	t.note(func(p *phase) {
		p.Sockets, p.Right = sockets, away == "" && wrong == ""
		if away != "" {
			p.AwayMs = time.Since(p.begun).Milliseconds()
		}
		if wrong != "" {
			p.WrongMs, p.Wrong = time.Since(p.begun).Milliseconds(), wrong
		}
	})
}

// presence says who is away and who sees the wrong people, or nothing.
func (t *traffic) presence() (away, wrong string) {
	for _, name := range t.names {
		really, there := map[string]bool{}, []*peer{}
		for _, p := range t.peers {
			if _, follows := p.rooms[name]; !follows {
				continue
			}
			p.mu.Lock()
			socket := p.self[name]
			p.mu.Unlock()
			if socket == "" {
				away = p.name + " is away from " + name
				continue
			}
			really[socket] = true
			there = append(there, p)
		}
		for _, p := range there {
			seen := map[string]bool{}
			for _, m := range p.rooms[name].Presence() {
				seen[m.Socket] = true
			}
			if !maps.Equal(seen, really) {
				wrong = fmt.Sprintf("%s sees %d of %d at %s", p.name, len(seen), len(really), name)
			}
		}
	}
	return away, wrong
}

// verify stops the senders and proves that nothing acknowledged was lost, everything came once and in order, and
// everybody sees everybody.
func (t *traffic) verify(ctx context.Context) error {
	t.stop()
	t.sending.Wait()
	var problems []string
	wait := func(within time.Duration, ask func() []string) {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(within); ; {
			wrong := ask()
			if len(wrong) == 0 || time.Now().After(end) || ctx.Err() != nil {
				problems = append(problems, wrong...)
				return
			}
			<-tick.C
		}
	}
	wait(60*time.Second, t.check.Behind)
	wait(30*time.Second, func() []string {
		if away, wrong := t.presence(); away+wrong != "" {
			return []string{away, wrong}
		}
		return nil
	})
	histories := map[string][]e2e.Entry{}
	for name, ch := range t.peers[0].rooms {
		page, err := ch.History(ctx, client.HistoryQuery{Limit: 1000})
		if err != nil {
			return fmt.Errorf("history of %s: %w", name, err)
		}
		for _, m := range page.Messages {
			var key string
			if m.Decode(&key) == nil {
				histories[name] = append(histories[name], e2e.Entry{Key: key, ID: m.ID, Offset: m.Offset})
			}
		}
	}
	wait(20*time.Second, func() []string { return t.check.Messages(histories) })
	counts := t.check.Counts()
	if counts.Acked == 0 {
		problems = append(problems, "nothing was acknowledged")
	}
	t.note(func(p *phase) { p.Acked, p.Deliveries, p.Unproved = counts.Acked, counts.Delivered, counts.Unproved })
	if len(problems) > 0 {
		return errors.New(strings.Join(slices.Clip(problems[:min(len(problems), 12)]), "\n"))
	}
	return nil
}

// close ends all clients.
func (t *traffic) close() {
	for _, p := range t.peers {
		if p.client != nil {
			_ = p.client.Close()
		}
	}
	if t.end != nil {
		t.end()
	}
	t.watching.Wait()
}
