package trigger_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/trigger"
)

// A thousand joins at once on an endpoint that is down: one that takes connections and says nothing, the worst
// kind. All are refused in bounded time, those that come later at once, and another endpoint does not notice.
func TestJoinStorm(t *testing.T) {
	t.Parallel()
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	down := hook(silent(t))
	down.TimeoutMS = 500
	alive := hook(serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("true")) }).URL)

	var wait sync.WaitGroup
	var refused atomic.Int32
	start := time.Now()
	for range 1000 {
		wait.Go(func() {
			if v, err := f.Join(t.Context(), one(down), input("null")); v == trigger.Failed && err != nil {
				refused.Add(1)
			}
		})
	}
	var slowest time.Duration
	for range 50 {
		begin := time.Now()
		if v, err := f.Join(t.Context(), one(alive), input("null")); v != trigger.Passed {
			t.Fatal(v, err)
		}
		slowest = max(slowest, time.Since(begin))
	}
	wait.Wait()
	took := time.Since(start)
	if refused.Load() != 1000 || took > 10*time.Second {
		t.Errorf("%d refused in %v", refused.Load(), took)
	}
	if slowest >= trigger.DefaultTimeout { // some milliseconds; much more on a busy machine
		t.Errorf("the other endpoint took up to %v", slowest)
	}

	before := f.counter(t, "join", "breaker_open")
	begin := time.Now()
	for range 1000 {
		if v, _ := f.Join(t.Context(), one(down), input("null")); v != trigger.Failed {
			t.Fatal(v)
		}
	}
	if n := f.counter(t, "join", "breaker_open") - before; n < 995 { // but for trials after a pause
		t.Errorf("the breaker refused %v of 1000", n)
	}
	t.Logf("storm refused in %v, other endpoint at most %v, 1000 more in %v", took, slowest, time.Since(begin))
}

func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError) // even when it is not happy
		_, _ = w.Write([]byte("sorry"))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	for range 20 {
		_, _, _ = ask(t, f, trigger.Join, hook(s.URL))
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections for 20 calls", opened.Load())
	}

	// The other side may close a kept connection at any moment: no reason to fail.
	s.CloseClientConnections()
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("true")) })
	for range 20 {
		if _, v, err := ask(t, f, trigger.Join, hook(s.URL)); v != trigger.Passed {
			t.Fatal(v, err)
		}
		s.CloseClientConnections()
	}
}
