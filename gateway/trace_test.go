package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/tracing"
	"fanfare/protocol"
)

// A sampled message has its publish, store and deliver spans at the collector, and its trace beside its latency.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	names := map[string]map[string]bool{} // of spans, by trace
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []struct{ TraceID, Name, ParentSpanID string }
				}
			}
		}
		if err := json.Unmarshal(body, &request); err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, r := range request.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					if names[span.TraceID] == nil {
						names[span.TraceID] = map[string]bool{}
					}
					names[span.TraceID][span.Name] = true
					if (span.ParentSpanID == "") != (span.Name == "publish") {
						t.Errorf("%s below %q", span.Name, span.ParentSpanID)
					}
				}
			}
		}
	}))
	defer collector.Close()
	tracer, err := tracing.New(tracing.Options{Endpoint: collector.URL, Ratio: 1, Node: "node0001"})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	o := testOptions()
	o.Registerer, o.Tracer = reg, tracer
	s := newServer(t, o, open("room", 100))
	s.run(t)
	eventually(t, "ready", s.Ready)
	var to sink
	session := s.attach(&to, nobody)
	session.process(message([]byte(joinFrame("room"))))
	session.process(message([]byte(`{"action":"message","options":{"channel":"room"},"payload":"hello"}`)))
	s.topic(t, "room").flushed()
	s.Publish(&protocol.Publication{Server: 1, Channel: "room"}, []byte(`1`), false, func(protocol.Receipt, error) {})
	eventually(t, "both delivered", func() bool { return s.metrics.servers.of(1).publications.Load() == 2 })
	s.topic(t, "room").flushed()
	stop := make(chan struct{})
	ended, end := context.WithCancel(t.Context())
	end()
	go func() { defer close(stop); _ = tracer.Run(ended) }() // sends what is there, and ends
	<-stop
	mu.Lock()
	defer mu.Unlock()
	whole := 0
	for _, spans := range names {
		if spans["publish"] && (spans["store"] || spans["hand over"]) && spans["deliver"] {
			whole++
		}
	}
	if len(names) != 2 || whole != 2 {
		t.Errorf("traces: %v", names)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exemplars := map[string]bool{}
	for _, f := range families {
		if f.GetName() != "fanfare_fanout_latency_seconds" {
			continue
		}
		for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
			for _, l := range b.GetExemplar().GetLabel() {
				exemplars[l.GetName()+"="+l.GetValue()] = true
			}
		}
	}
	if len(exemplars) == 0 {
		t.Error("no exemplar")
	}
	for e := range exemplars {
		if trace, ok := strings.CutPrefix(e, "trace_id="); !ok || names[trace] == nil {
			t.Errorf("exemplar %s leads nowhere", e)
		}
	}
}

// Without tracing nothing is asked and nothing is kept; with it, what is not sampled costs no memory.
func TestTraceCostsNothing(t *testing.T) {
	for _, ratio := range []float64{-1, 0} {
		o := testOptions()
		if ratio >= 0 {
			tracer, err := tracing.New(tracing.Options{Endpoint: "http://127.0.0.1:9", Ratio: ratio})
			if err != nil {
				t.Fatal(err)
			}
			o.Tracer = tracer
		}
		s := newServer(t, o, open("room", 0))
		s.run(t)
		eventually(t, "ready", s.Ready)
		session := s.attach(&sink{}, nobody)
		session.process(message([]byte(joinFrame("room"))))
		top := s.topic(t, "room")
		p := event("room", "payload")
		if got := testing.AllocsPerRun(200, func() { p.Accepted = time.Now(); top.Deliver(p) }); got > 10 {
			t.Errorf("ratio %v: %v allocations", ratio, got)
		}
		top.flushed()
		if top.batch.traced != nil || top.spare.traced != nil {
			t.Errorf("ratio %v: something was kept", ratio)
		}
		done := func(protocol.Receipt, error) {}
		if n := testing.AllocsPerRun(100, func() { s.tracePublish(p, time.Time{}, p.Accepted, done) }); n != 0 {
			t.Errorf("ratio %v: %v allocations of a publish", ratio, n)
		}
	}
}
