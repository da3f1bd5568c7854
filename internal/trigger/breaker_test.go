package trigger_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/policy"
	"fanfare/internal/trigger"
)

// fakeNet answers by host; "dead" hangs until the call is given up.
func fakeNet(dead *atomic.Bool, calls *atomic.Int32) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		calls.Add(1)
		if strings.HasPrefix(r.URL.Host, "dead") && dead.Load() {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return response(200, "true"), nil
	}
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		var calls atomic.Int32
		dead.Store(true)
		f := newCaller(t, trigger.Options{})
		f.SetTransport(fakeNet(&dead, &calls))
		join := func(host string) (trigger.Verdict, time.Duration) {
			start := time.Now()
			_, v, _ := ask(t, f, trigger.Join, hook("https://"+host+"/"))
			return v, time.Since(start)
		}
		for range 5 {
			if v, took := join("dead"); v != trigger.Failed || took != trigger.DefaultTimeout {
				t.Fatalf("got %v after %v", v, took)
			}
		}
		if n := f.gauge(t, "fanfare_trigger_breakers_open"); n != 1 {
			t.Errorf("%v breakers open", n)
		}
		for range 100 {
			if v, took := join("dead"); v != trigger.Failed || took != 0 {
				t.Fatalf("open: got %v after %v", v, took)
			}
		}
		if v, took := join("alive"); v != trigger.Passed || took != 0 {
			t.Errorf("another endpoint: got %v after %v", v, took)
		}
		if _, v, _ := f.Message(t.Context(), []policy.Trigger{hook("https://dead/other")}, input("1")); v != trigger.Failed {
			t.Error("another path of the host hangs too") // but is asked: it has a breaker of its own
		}

		// After the pause one call tries, the others do not wait for it.
		time.Sleep(5 * time.Second)
		before := calls.Load()
		var wait sync.WaitGroup
		var slow atomic.Int32
		for range 100 {
			wait.Go(func() {
				if _, took := join("dead"); took > 0 {
					slow.Add(1)
				}
			})
		}
		wait.Wait()
		if n := calls.Load() - before; n != 1 || slow.Load() != 1 {
			t.Errorf("%d trial calls, %d slow joins", n, slow.Load())
		}

		dead.Store(false)
		time.Sleep(6 * time.Second)
		if v, _ := join("dead"); v != trigger.Passed {
			t.Errorf("alive again: got %v", v)
		}
		if v, _ := join("dead"); v != trigger.Passed || f.gauge(t, "fanfare_trigger_breakers_open") != 0 {
			t.Errorf("closed again: got %v", v)
		}
		if logs := f.logs.String(); !strings.Contains(logs, "keeps failing") || !strings.Contains(logs, "answers again") {
			t.Errorf("logs:\n%s", logs)
		}
	})
}

// A client that makes the webhook answer badly must not shut it for the others.
func TestBadAnswersDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	f := newCaller(t, trigger.Options{})
	var answer atomic.Pointer[http.Response]
	f.SetTransport(roundTrip(func(*http.Request) (*http.Response, error) { return answer.Load(), nil }))
	for i := range 40 {
		answer.Store([]*http.Response{
			response(500, ""), response(400, ""), response(200, "{"), response(302, ""), response(200, strings.Repeat(" ", 300<<10)),
		}[i%5])
		if _, v, _ := ask(t, f, trigger.Message, hook("https://example.com/")); v != trigger.Failed {
			t.Fatal(v)
		}
	}
	answer.Store(response(200, "1"))
	if _, v, err := ask(t, f, trigger.Message, hook("https://example.com/")); v != trigger.Passed {
		t.Error(v, err)
	}
	for range 5 {
		answer.Store(response(503, ""))
		_, _, _ = ask(t, f, trigger.Message, hook("https://example.com/"))
	}
	if f.counter(t, "message", "breaker_open") != 0 || f.gauge(t, "fanfare_trigger_breakers_open") != 1 {
		t.Error("503s do not open the breaker")
	}
}

// Clients that leave say nothing about the endpoint.
func TestCanceledCallsDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		var calls atomic.Int32
		dead.Store(true)
		f := newCaller(t, trigger.Options{})
		f.SetTransport(fakeNet(&dead, &calls))
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, v, err := askContext(ctx, f, trigger.Join, hook("https://dead/")); v != trigger.Failed || !errors.Is(err, context.Canceled) {
				t.Fatal(v, err)
			}
		}
		if f.gauge(t, "fanfare_trigger_breakers_open") != 0 {
			t.Error("breaker is open")
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		f := newCaller(t, trigger.Options{Limits: trigger.Limits{Concurrency: 8, Waiting: 100}})
		f.SetTransport(roundTrip(func(r *http.Request) (*http.Response, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			select {
			case <-time.After(900 * time.Millisecond):
				return response(200, "true"), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}))
		var wait sync.WaitGroup
		var passed, refused, late atomic.Int32
		start := time.Now()
		for range 200 {
			wait.Go(func() {
				_, v, _ := ask(t, f, trigger.Join, hook("https://example.com/"))
				switch took := time.Since(start); {
				case v == trigger.Passed:
					passed.Add(1)
				case took == 0:
					refused.Add(1) // the waiting room is full
				case took == trigger.DefaultTimeout:
					late.Add(1) // no slot in time
				}
			})
		}
		wait.Wait()
		// Of 108 taken in, three lots of 8 pass, the fourth is called too late, the others never.
		if most.Load() != 8 || refused.Load() != 92 || passed.Load() != 24 || late.Load() != 84 {
			t.Errorf("at most %d at a time, %d passed, %d late, %d refused", most.Load(), passed.Load(), late.Load(), refused.Load())
		}
		if busy, timeout := f.counter(t, "join", "busy"), f.counter(t, "join", "timeout"); busy+timeout != 92+84 || timeout < 8 {
			t.Errorf("counted %v busy, %v timeout", busy, timeout)
		}
		if f.gauge(t, "fanfare_trigger_breakers_open") != 0 {
			t.Error("being busy opened the breaker")
		}
	})
}

func TestEndpointsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		var calls atomic.Int32
		f := newCaller(t, trigger.Options{Limits: trigger.Limits{Endpoints: 10}})
		f.SetTransport(fakeNet(&dead, &calls))
		for i := range 1000 {
			if _, v, err := ask(t, f, trigger.Join, hook("https://example.com/"+strconv.Itoa(i))); v != trigger.Passed {
				t.Fatal(v, err)
			}
		}
		if n := f.Endpoints(); n != 10 {
			t.Errorf("%d endpoints kept", n)
		}

		// Those in use are not forgotten; with all in use the next is refused.
		dead.Store(true)
		var wait sync.WaitGroup
		for i := range 10 {
			wait.Go(func() { _, _, _ = ask(t, f, trigger.Join, hook("https://dead/"+strconv.Itoa(i))) })
		}
		synctest.Wait()
		if _, v, _ := ask(t, f, trigger.Join, hook("https://example.com/")); v != trigger.Failed || f.counter(t, "join", "busy") != 1 {
			t.Errorf("got %v", v)
		}
		wait.Wait()
		if _, v, err := ask(t, f, trigger.Join, hook("https://example.com/")); v != trigger.Passed {
			t.Error(v, err)
		}
		time.Sleep(11 * time.Minute)
		if _, v, err := ask(t, f, trigger.Join, hook("https://example.com/new")); v != trigger.Passed || f.Endpoints() != 1 {
			t.Errorf("%v %v, %d endpoints kept", v, err, f.Endpoints())
		}
	})
}

// The same URL in the settings of another realtime server is another endpoint.
func TestServersDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	f := newCaller(t, trigger.Options{})
	f.SetTransport(roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Webhook-Signature") == "" {
			return response(503, ""), nil
		}
		return response(200, "true"), nil
	}))
	bad, good := hook("https://example.com/"), hook("https://example.com/")
	good.Secret = policy.Secrets{vectorSecret}
	for range 10 {
		in := input("null")
		in.Server = 1
		if v, _ := f.Join(t.Context(), []policy.Trigger{bad}, in); v != trigger.Failed {
			t.Fatal(v)
		}
		in.Server = 2
		if v, err := f.Join(t.Context(), []policy.Trigger{good}, in); v != trigger.Passed {
			t.Fatal(v, err)
		}
	}
}
