package watch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"fanfare/internal/labtest"
)

// collector takes OTLP and keeps which gateway sent which spans of a trace.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	traces map[string]map[string]map[string]bool // trace, span's name, gateway
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{traces: map[string]map[string]map[string]bool{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request struct {
			ResourceSpans []struct {
				Resource struct {
					Attributes []struct {
						Key   string
						Value struct{ StringValue string }
					}
				}
				ScopeSpans []struct {
					Spans []struct{ TraceID, Name string }
				}
			}
		}
		if err := json.Unmarshal(body, &request); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			node := ""
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.instance.id" {
					node = a.Value.StringValue
				}
			}
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					if c.traces[s.TraceID] == nil {
						c.traces[s.TraceID] = map[string]map[string]bool{}
					}
					if c.traces[s.TraceID][s.Name] == nil {
						c.traces[s.TraceID][s.Name] = map[string]bool{}
					}
					c.traces[s.TraceID][s.Name][node] = true
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// checkTraces waits for traces that go from a publish on one gateway to the sockets of two, for stored and other
// messages, and for exemplars in Prometheus that lead to them.
func checkTraces(t *testing.T, c *collector, both map[string]*prometheus) {
	labtest.Await(t, 20*time.Second, "traces over two gateways", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		stored, other := 0, 0
		for _, spans := range c.traces {
			if len(spans["publish"]) == 1 && len(spans["deliver"]) == 2 {
				stored, other = stored+len(spans["store"]), other+len(spans["hand over"])
			}
		}
		if stored == 0 || other == 0 || len(c.traces) < 10 {
			return fmt.Errorf("%d traces, %d of stored messages and %d of others are whole", len(c.traces), stored, other)
		}
		return nil
	})
	for name, p := range both {
		labtest.Await(t, 20*time.Second, name+": exemplars", func() error {
			var found []struct {
				Exemplars []struct{ Labels map[string]string }
			}
			now := time.Now()
			if err := p.get(t.Context(), "/api/v1/query_exemplars", url.Values{
				"query": {"fanfare_fanout_latency_seconds_bucket or fanfare_fanout_latency_seconds"},
				"start": {fmt.Sprint(now.Add(-time.Minute).Unix())}, "end": {fmt.Sprint(now.Unix())},
			}, &found); err != nil {
				return err
			}
			n := 0
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, s := range found {
				for _, e := range s.Exemplars {
					if c.traces[e.Labels["trace_id"]] != nil {
						n++
					}
				}
			}
			if n == 0 {
				return fmt.Errorf("none of %d series leads to a trace", len(found))
			}
			t.Logf("%s: %d exemplars lead to traces", name, n)
			return nil
		})
	}
}
