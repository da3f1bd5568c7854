package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/policy"
)

// record is a lifecycle in memory; cursors are counts.
type record struct {
	mu     sync.Mutex
	events []LifecycleEvent
	grown  chan struct{} // closed and replaced when there is more
	oldest int
}

func newRecord() *record { return &record{grown: make(chan struct{})} }

func (l *record) add(types ...LifecycleType) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ty := range types {
		e := LifecycleEvent{Cursor: strconv.Itoa(len(l.events) + 1), Type: ty, Time: time.Unix(1700000000, 0).UTC(), Channel: "chat/a"}
		if ty == LifecycleJoin {
			e.Client = json.RawMessage(`{"socketId":"s","extras":{},"permissions":{"dbo_id":0,"row_id":0}}`)
		}
		l.events = append(l.events, e)
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *record) Read(ctx context.Context, _ *policy.Server, after string, limit int, wait bool) (LifecyclePage, error) {
	at, err := strconv.Atoi(after)
	switch {
	case after == "":
		at = l.oldest
	case err != nil:
		return LifecyclePage{}, ErrCursor
	case at < l.oldest:
		return LifecyclePage{}, ErrCursorExpired
	}
	for {
		l.mu.Lock()
		grown := l.grown
		if end := min(len(l.events), at+limit); end > at {
			p := LifecyclePage{Items: l.events[at:end], Next: l.events[end-1].Cursor}
			l.mu.Unlock()
			return p, nil
		}
		l.mu.Unlock()
		if !wait {
			return LifecyclePage{Next: after}, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return LifecyclePage{Next: after}, nil
		}
	}
}

func TestLifecyclePages(t *testing.T) {
	l := newRecord()
	b := newBench(t, func(o *Options) { o.Lifecycle = l })
	b.v1(http.MethodGet, "/lifecycle", "").want(t, http.StatusOK, "", `{"items":[],"next":null}`)
	l.add(LifecycleConnect, LifecycleJoin, LifecycleOccupied, LifecycleLeave, LifecycleVacated)
	b.v1(http.MethodGet, "/lifecycle?limit=2", "").want(t, http.StatusOK, "", `"type":"connect"`, `"type":"join"`, `"next":"2"`)
	b.v1(http.MethodGet, "/lifecycle?after=2", "").want(t, http.StatusOK, "", `"type":"occupied"`, `"next":"5"`)
	b.v1(http.MethodGet, "/lifecycle?after=x", "").want(t, http.StatusBadRequest, "invalid_parameter")
	l.oldest = 3
	b.v1(http.MethodGet, "/lifecycle?after=2", "").want(t, http.StatusGone, "cursor_expired")
	b.v1(http.MethodGet, "/lifecycle?after=5&wait=1ms", "").want(t, http.StatusOK, "", `{"items":[],"next":"5"}`)
}

func TestLifecycleWaits(t *testing.T) {
	l := newRecord()
	b := newBench(t, func(o *Options) { o.Lifecycle = l })
	answered := make(chan *reply, 1)
	go func() { answered <- b.v1(http.MethodGet, "/lifecycle?wait=60", "") }()
	waitFor(t, func() bool { return len(b.api.waiting) == 1 })
	l.add(LifecycleConnect)
	(<-answered).want(t, http.StatusOK, "", `"connect"`)

	// A drain does not wait for those who wait.
	go func() { answered <- b.v1(http.MethodGet, "/lifecycle?wait=60&after=1", "") }()
	waitFor(t, func() bool { return len(b.api.waiting) == 1 })
	b.api.Drain()
	b.api.Drain()
	(<-answered).want(t, http.StatusOK, "", `{"items":[],"next":"1"}`)
	b.v1(http.MethodGet, "/lifecycle?wait=60&after=1", "").want(t, http.StatusServiceUnavailable, "overloaded")
	b.v1(http.MethodGet, "/lifecycle", "").want(t, http.StatusOK, "")
}

func TestWaitingIsBounded(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Lifecycle = newRecord() })
	for range maxWaiting {
		b.api.waiting <- struct{}{}
	}
	r := b.v1(http.MethodGet, "/lifecycle?wait=1", "").want(t, http.StatusServiceUnavailable, "overloaded")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestLifecycleStream(t *testing.T) {
	l := newRecord()
	b := newBench(t, func(o *Options) { o.Lifecycle = l })
	l.add(LifecycleConnect, LifecycleJoin)
	s := httptest.NewServer(b.api)
	defer s.Close()
	open := func(ctx context.Context, lastID string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/demo/lifecycle", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+apiKey)
		r.Header.Set("Accept", "text/event-stream")
		if lastID != "" {
			r.Header.Set("Last-Event-ID", lastID)
		}
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res := open(ctx, "1")
	lines := bufio.NewScanner(res.Body)
	read := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	read("id: 2")
	read("event: join")
	read(`data: {"cursor":"2"`)
	l.add(LifecycleLeave)
	read("id: 3")
	b.api.Drain()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream did not end well: %v", err)
	}
	_ = res.Body.Close()

	bad := open(ctx, "x")
	defer func() { _ = bad.Body.Close() }()
	if bad.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while draining a stream answers %d", bad.StatusCode)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
		time.Sleep(time.Millisecond)
	}
}
