package tracing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"fanfare/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is an OTLP receiver: it takes what the protocol allows and nothing else.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []map[string]any
	status []int // answers given first, one a request
	asked  int
}

func newCollector(t *testing.T, status ...int) *collector {
	t.Helper()
	c := &collector{status: status}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked++
		if len(c.status) > 0 {
			w.WriteHeader(c.status[0])
			c.status = c.status[1:]
			return
		}
		if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
		}
		spans, err := decode(body)
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		c.spans = append(c.spans, spans...)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(c.Close)
	return c
}

// decode is strict about the JSON form of OTLP.
func decode(body []byte) ([]map[string]any, error) {
	var request struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes []map[string]any }
			ScopeSpans []struct {
				Scope struct{ Name, Version string }
				Spans []map[string]any
			}
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	var out []map[string]any
	for _, r := range request.ResourceSpans {
		if text := fmt.Sprint(r.Resource.Attributes); !strings.Contains(text, "service.name") || !strings.Contains(text, "stringValue:fanfare") {
			return nil, fmt.Errorf("resource %s", text)
		}
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				for key, length := range map[string]int{"traceId": 16, "spanId": 8, "parentSpanId": 8} {
					text, _ := span[key].(string)
					if text == "" && key == "parentSpanId" {
						continue
					}
					if b, err := hex.DecodeString(text); err != nil || len(b) != length {
						return nil, fmt.Errorf("%s %q", key, text)
					}
				}
				var begin, end int64
				if _, err := fmt.Sscan(span["startTimeUnixNano"].(string), &begin); err != nil {
					return nil, err
				}
				if _, err := fmt.Sscan(span["endTimeUnixNano"].(string), &end); err != nil || end < begin || begin < 1e18 {
					return nil, fmt.Errorf("from %d to %d: %w", begin, end, err)
				}
				if kind, ok := span["kind"].(float64); !ok || kind < 1 || kind > 5 {
					return nil, fmt.Errorf("kind %v", span["kind"])
				}
				out = append(out, span)
			}
		}
	}
	return out, nil
}

func start(t *testing.T, o Options) (*Tracer, func()) {
	t.Helper()
	tracer, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tracer.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return tracer, stop
}

func publication(n int) *protocol.Publication {
	return &protocol.Publication{Server: 1, Channel: "chat/sports", ID: fmt.Sprintf("node0001.%x", n)}
}

// What is recorded arrives in the form of OTLP, the last of it when the tracer stops.
func TestSpansArrive(t *testing.T) {
	c := newCollector(t)
	reg := prometheus.NewPedanticRegistry()
	one, stopOne := start(t, Options{Endpoint: c.URL, Ratio: 1, Node: "node0001", Version: "1.2.3", Registerer: reg})
	other, stopOther := start(t, Options{Endpoint: c.URL + "/", Ratio: 1, Node: "node0002"})
	p := publication(1)
	now := time.Now()
	trace := one.Sample(p)
	if trace == "" || trace != other.Sample(p) {
		t.Fatalf("gateways disagree about the trace: %q, %q", trace, other.Sample(p))
	}
	one.Record(p, Span{Name: "publish", Begin: now, End: now.Add(time.Millisecond), Root: true, Failed: "unavailable", Texts: [][2]string{{"fanfare.kind", "message"}}, Numbers: []Number{{"fanfare.server", 1}}})
	other.Record(p, Span{Name: "deliver", Begin: now, End: now.Add(-time.Millisecond)}) // clocks go back
	stopOne()
	stopOther()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 2 {
		t.Fatalf("%d spans", len(c.spans))
	}
	root, leaf := c.spans[0], c.spans[1]
	if root["traceId"] != trace || leaf["traceId"] != trace || root["parentSpanId"] != nil || leaf["parentSpanId"] != root["spanId"] || leaf["spanId"] == root["spanId"] {
		t.Errorf("%v\n%v", root, leaf)
	}
	if text := fmt.Sprint(root["attributes"]); !strings.Contains(text, "stringValue:message") || !strings.Contains(text, "intValue:1") {
		t.Error(text)
	}
	if text := fmt.Sprint(root["status"]); !strings.Contains(text, "code:2") || !strings.Contains(text, "unavailable") {
		t.Error(text)
	}
	if n := testutil.ToFloat64(one.metrics.sent); n != 1 {
		t.Errorf("%v sent", n)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// The part that is sampled is the one asked for, and ids that differ in their ends only are spread.
func TestRatio(t *testing.T) {
	for _, ratio := range []float64{0, 0.01, 0.5, 1} {
		tracer, err := New(Options{Endpoint: "http://127.0.0.1:9", Ratio: ratio})
		if err != nil {
			t.Fatal(err)
		}
		const all = 100_000
		n := 0
		for i := range all {
			if tracer.Sample(publication(i)) != "" {
				n++
			}
		}
		if got := float64(n) / all; got < ratio*0.9 || got > ratio*1.1 {
			t.Errorf("%v instead of %v", got, ratio)
		}
	}
	tracer, err := New(Options{Endpoint: "http://127.0.0.1:9", Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range []*protocol.Publication{{Server: 1, Channel: "a", ID: "1"}, {Server: 2, Channel: "a", ID: "1"}, {Server: 1, Channel: "b", ID: "1"}, {Server: 1, Channel: "a", ID: "2"}} {
		seen[tracer.Sample(p)] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d traces of four publications", len(seen))
	}
}

// A publication that is not sampled costs no memory.
func TestSampleAllocatesNothing(t *testing.T) {
	tracer, err := New(Options{Endpoint: "http://127.0.0.1:9", Ratio: 1e-12})
	if err != nil {
		t.Fatal(err)
	}
	p := publication(7)
	if n := testing.AllocsPerRun(100, func() { tracer.Sample(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A collector that is busy is asked again, one that refuses is not; what is given up is counted.
func TestCollectorFails(t *testing.T) {
	for _, try := range []struct {
		name         string
		status       []int
		sent, failed float64
		asked        int
	}{
		{"busy", []int{503}, 1, 0, 2},
		{"busy for long", []int{503, 429}, 0, 1, 2},
		{"refuses", []int{400}, 0, 1, 1},
	} {
		c := newCollector(t, try.status...)
		tracer, err := New(Options{Endpoint: c.URL, Ratio: 1})
		if err != nil {
			t.Fatal(err)
		}
		tracer.Record(publication(1), Span{Name: "publish", Begin: time.Now(), End: time.Now()})
		tracer.flush(t.Context())
		tracer.http.CloseIdleConnections()
		if s, f := testutil.ToFloat64(tracer.metrics.sent), testutil.ToFloat64(tracer.metrics.failed); s != try.sent || f != try.failed || c.asked != try.asked {
			t.Errorf("%s: %v sent, %v failed, asked %d times", try.name, s, f, c.asked)
		}
	}
}

// A collector out of reach costs a bounded queue and nobody's time.
func TestQueueIsBounded(t *testing.T) {
	tracer, err := New(Options{Endpoint: "http://127.0.0.1:9", Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxQueue + 100 {
		tracer.Record(publication(i), Span{Name: "deliver", Begin: time.Now(), End: time.Now()})
	}
	if n := testutil.ToFloat64(tracer.metrics.dropped); n != 100 || len(tracer.queue) != maxQueue {
		t.Errorf("%v dropped, %d wait", n, len(tracer.queue))
	}
}

func TestOptions(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://collector:4318": "http://collector:4318/v1/traces", "https://c/otlp/v1/traces": "https://c/otlp/v1/traces",
		"collector:4318": "", "ftp://c": "", "http://": "", "": "",
	} {
		tracer, err := New(Options{Endpoint: endpoint})
		if (err != nil) != (want == "") || err == nil && tracer.url != want {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	reg := prometheus.NewRegistry()
	for i := range 2 {
		if _, err := New(Options{Endpoint: "http://c", Registerer: reg}); (err != nil) != (i == 1) {
			t.Error(err)
		}
	}
}
