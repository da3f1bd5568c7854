package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestBackoff(t *testing.T) {
	const least, most = 500 * time.Millisecond, 30 * time.Second
	for attempt, want := range []time.Duration{least, 2 * least, 4 * least, 8 * least, 16 * least, 32 * least, most, most, most} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := backoff(least, most, attempt, 0)
			if d < want/2-1 || d > want {
				t.Fatalf("attempt %d: %v", attempt, d)
			}
			seen[d] = true
		}
		if len(seen) < 50 {
			t.Errorf("attempt %d: %d different pauses of 100", attempt, len(seen))
		}
	}
	if d := backoff(least, most, 1000, 0); d < most/2-1 || d > most {
		t.Error(d)
	}
	if d := backoff(least, most, 0, time.Minute); d < time.Minute || d > 75*time.Second {
		t.Error(d)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "99999999": time.Hour, "x": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestFinal(t *testing.T) {
	for code, want := range map[websocket.StatusCode]bool{
		1000: true, 1001: false, 1005: false, 1007: true, 1008: true, 1009: true, 1011: false, 1012: false, 1013: false, 1014: false,
		4000: false, 4401: true, 4999: true,
	} {
		if _, got := final(fmt.Errorf("read: %w", websocket.CloseError{Code: code})); got != want {
			t.Errorf("%d: final %v", code, got)
		}
	}
	if _, got := final(context.DeadlineExceeded); got {
		t.Error("a broken connection is not final")
	}
}

func TestQueueBounds(t *testing.T) {
	q := newQueue(4, 100)
	if !q.push(item{size: 500}) {
		t.Error("one large event must fit")
	}
	if q.push(item{size: 1}) {
		t.Error("over the bytes")
	}
	if _, roomy, err := q.pop(t.Context()); err != nil || !roomy {
		t.Error(roomy, err)
	}
	for range 4 {
		if !q.push(item{size: 1}) {
			t.Error("below the bounds")
		}
	}
	if q.push(item{size: 1}) {
		t.Error("over the number")
	}
	q.end(ErrLeft)
	q.end(ErrClosed)
	for range 4 {
		if _, _, err := q.pop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if _, _, err := q.pop(t.Context()); !errors.Is(err, ErrLeft) {
			t.Error(err)
		}
	}
	if !q.push(item{}) {
		t.Error("an ended queue takes everything and keeps nothing")
	}
}

func TestOutboxBounds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &link{ready: make(chan struct{}, 1), cancel: cancel}
	for i := range 100000 {
		l.pushLatest("room", fmt.Append(nil, i))
	}
	l.push([]byte("x"))
	l.pushLatest("other", []byte("y"))
	if got := l.take(); len(got) != 3 || string(got[0]) != "99999" || string(got[1]) != "x" || string(got[2]) != "y" {
		t.Errorf("%q", got)
	}
	l.pushLatest("room", []byte("z"))
	if got := l.take(); len(got) != 1 || string(got[0]) != "z" {
		t.Errorf("%q", got)
	}
	for range outboxMax {
		l.push(nil)
	}
	if ctx.Err() != nil {
		t.Error("given up below the bound")
	}
	if l.push(nil); ctx.Err() == nil {
		t.Error("not given up above the bound")
	}
}

// FuzzHandle: whatever a server sends, the client survives it, and what it encodes is valid.
func FuzzHandle(f *testing.F) {
	files, err := filepath.Glob("../protocol/testdata/frames/server-*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden frames", err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Add([]byte(`{"action":"presence_update","options":{"channel":"chat/1"},"payload":{"presence":{"permissions":null}}}`), false)
	f.Add([]byte(`{"action":"event","options":{"channel":"chat/1","offset":"x"},"payload":5}`), false)
	f.Fuzz(func(t *testing.T, b []byte, stored bool) {
		frame, err := decodeFrame(b)
		if err != nil {
			return
		}
		o := Options{QueueEvents: 4}.withDefaults()
		c := &Client{o: o, changed: make(chan struct{}), channels: map[string]*Channel{}, calls: map[string]*call{}}
		l := &link{ready: make(chan struct{}, 1), renew: make(chan struct{}, 1)}
		c.link = l
		ch := c.Channel("chat/1", ChannelOptions{Presence: true})
		ch.wanted, ch.live, ch.stored = true, true, stored
		c.channels["chat/1"], c.order = ch, []*Channel{ch}
		pending := &call{channel: ch, done: make(chan answer, 1)}
		c.calls["r1"] = pending
		history := &call{channel: ch, done: make(chan answer, 1)}
		ch.histories = []*call{history}
		for range 8 {
			c.handle(l, frame)
		}
		c.down(ErrClosed)
		for _, frame := range l.take() {
			if !json.Valid(frame) {
				t.Fatalf("sent %s", frame)
			}
		}
		<-pending.done
	})
}
