package ops

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func build(t *testing.T, opts Options) *Server {
	t.Helper()
	registry := prometheus.NewRegistry()
	opts.Gatherer, opts.Registerer = registry, registry
	opts.Build = Build{Version: "1.2.3", Commit: "abc", GoVersion: runtime.Version()}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(t *testing.T, s *Server, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestReadiness(t *testing.T) {
	var starting, cut atomic.Bool
	s := build(t, Options{
		Checks: []Check{
			{"started", func(context.Context) error {
				if starting.Load() {
					return errors.New("still starting")
				}
				return nil
			}},
			{"broker", func(context.Context) error {
				if cut.Load() {
					return errors.New("disconnected for 3s")
				}
				return nil
			}},
		},
		Notes: []Note{{"broker.sync", "1s: a power failure may cost acknowledged messages of that time"}},
	})
	starting.Store(true)
	for _, step := range []struct {
		set    func()
		status int
		ready  int
		body   string
	}{
		{func() {}, 503, 0, "not ready\nfail started: still starting\nok   broker\n"},
		{func() { starting.Store(false) }, 200, 1, "ready\nok   started\nok   broker\n"},
		{func() { cut.Store(true) }, 503, 0, "not ready\nok   started\nfail broker: disconnected for 3s\n"},
	} {
		step.set()
		if w := ask(t, s, "/metrics"); !strings.Contains(w.Body.String(), fmt.Sprintf("\nfanfare_ready %d\n", step.ready)) {
			t.Errorf("fanfare_ready is not %d", step.ready)
		}
		w := ask(t, s, "/readyz")
		want := step.body + "note broker.sync: 1s: a power failure may cost acknowledged messages of that time\n"
		if w.Code != step.status || w.Body.String() != want || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, step.status, want)
		}
		if w := ask(t, s, "/healthz"); w.Code != 200 || w.Body.String() != "ok\n" {
			t.Errorf("healthz %d %q", w.Code, w.Body)
		}
	}
	w := ask(t, s, "/readyz", "Accept", "application/json")
	var got report
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 503 || got.Ready || len(got.Checks) != 2 || got.Checks[1].Error != "disconnected for 3s" || !got.Checks[0].OK || len(got.Notes) != 1 {
		t.Errorf("%d %+v", w.Code, got)
	}
}

func TestSlowProbeIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := build(t, Options{Checks: []Check{{"slow", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}}})
		start := time.Now()
		if w := ask(t, s, "/readyz"); w.Code != 503 || time.Since(start) != probeTimeout {
			t.Errorf("%d after %s", w.Code, time.Since(start))
		}
	})
}

func TestMetrics(t *testing.T) {
	s := build(t, Options{})
	w := ask(t, s, "/metrics")
	want := `fanfare_build_info{commit="abc",goversion="` + runtime.Version() + `",version="1.2.3"} 1`
	if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	for accept, content := range map[string]string{
		"application/openmetrics-text; version=1.0.0":                                                  "application/openmetrics-text",
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited": "application/vnd.google.protobuf",
		"text/plain": "text/plain",
	} {
		if got := ask(t, s, "/metrics", "Accept", accept).Header().Get("Content-Type"); !strings.HasPrefix(got, content) {
			t.Errorf("%s: %s", accept, got)
		}
	}
}

// A native histogram must reach a scraper that can read it.
func TestNativeHistogram(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x_seconds", Help: "x", NativeHistogramBucketFactor: 1.1, Buckets: []float64{1, 2}})
	registry.MustRegister(h)
	h.Observe(0.3)
	s, err := New(Options{Gatherer: registry})
	if err != nil {
		t.Fatal(err)
	}
	const protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	w := ask(t, s, "/metrics", "Accept", protobuf)
	var family dto.MetricFamily
	if err := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header())).Decode(&family); err != nil {
		t.Fatal(err)
	}
	if got := family.GetMetric()[0].GetHistogram(); got.Schema == nil || len(got.GetPositiveSpan()) == 0 {
		t.Errorf("not native: %v", got)
	}
	if plain := ask(t, s, "/metrics").Body.String(); !strings.Contains(plain, `x_seconds_bucket{le="1"} 1`) {
		t.Errorf("not classic: %s", plain)
	}
}

func TestRegisterTwice(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := New(Options{Gatherer: registry, Registerer: registry}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Gatherer: registry, Registerer: registry}); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

func TestProfilesBehindTheSwitch(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := build(t, Options{Pprof: on})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/freeosmemory"} {
			code := ask(t, s, path).Code
			if on != (code == 200 || code == 204) || !on && code != 404 {
				t.Errorf("switch %v: %s is %d", on, path, code)
			}
		}
	}
	if code := ask(t, build(t, Options{}), "/").Code; code != 404 {
		t.Errorf("/ is %d", code)
	}
}

// start runs s and waits until it listens; the returned function ends it and gives what Run returned.
func start(t *testing.T, s *Server) func() error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); s.Addr() == ""; {
		if time.Now().After(deadline) {
			t.Fatal("does not listen")
		}
		runtime.Gosched()
	}
	return func() error {
		cancel()
		return <-done
	}
}

func TestRun(t *testing.T) {
	s := build(t, Options{Listen: "127.0.0.1:0"})
	stop := start(t, s)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if string(b) != "ok\n" {
		t.Errorf("%q", b)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := build(t, Options{Listen: "127.0.0.1:notaport"}).Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "ops_listen: ") {
		t.Errorf("a bad address gives %v", err)
	}
}

// A profile that is being taken must not keep the process from ending.
func TestRunEndsDuringProfile(t *testing.T) {
	s := build(t, Options{Listen: "127.0.0.1:0", Pprof: true})
	stop := start(t, s)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /debug/pprof/trace?seconds=600 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // the trace has begun
		t.Fatal(err)
	}
	begin := time.Now()
	if err := stop(); err != nil || time.Since(begin) > stopTimeout+5*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

// TestScraperGone: a scraper that leaves before its answer is logged once, however many metrics there are.
func TestScraperGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := build(t, Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		registry := s.opts.Gatherer.(*prometheus.Registry)
		for i := range 50 {
			registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: fmt.Sprint("c", i), Help: "c"}))
		}
		answered := make(chan struct{})
		s.opts.Gatherer = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			<-answered
			return registry.Gather()
		})
		ctx, leave := context.WithCancel(t.Context())
		leave()
		s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		close(answered)
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), `level=WARN msg="scrape failed"`) {
			t.Errorf("%d lines: %s", n, out.String())
		}
	})
}
