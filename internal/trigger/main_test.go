package trigger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"fanfare/internal/policy"
	"fanfare/internal/trigger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a Caller with its metrics and logs.
type fixture struct {
	*trigger.Caller
	reg  *prometheus.Registry
	logs *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newCaller(t testing.TB, o trigger.Options) *fixture {
	t.Helper()
	f := &fixture{reg: prometheus.NewRegistry(), logs: &buffer{}}
	o.Registerer = f.reg
	o.Logger = slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := trigger.New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.Caller = c
	t.Cleanup(c.Close)
	return f
}

// counter reads fanfare_trigger_total.
func (f *fixture) counter(t testing.TB, action, outcome string) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "fanfare_trigger_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["action"] == action && labels["outcome"] == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (f *fixture) gauge(t testing.TB, name string) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// hook is a trigger for both actions.
func hook(url string) policy.Trigger {
	return policy.Trigger{
		URL: url, Actions: policy.TriggerActions{Join: true, Message: true}, OnFailure: policy.FailureBlock,
	}
}

func input(payload string) trigger.Input {
	return trigger.Input{Server: 1, Channel: "chat/1", Session: "S1", Payload: json.RawMessage(payload)}
}

func ask(t testing.TB, f *fixture, action trigger.Action, rule ...policy.Trigger) (string, trigger.Verdict, error) {
	t.Helper()
	return askContext(t.Context(), f, action, rule...)
}

func askContext(ctx context.Context, f *fixture, action trigger.Action, rule ...policy.Trigger) (string, trigger.Verdict, error) {
	if action == trigger.Join {
		v, err := f.Join(ctx, rule, input(`"original"`))
		return "", v, err
	}
	payload, v, err := f.Message(ctx, rule, input(`"original"`))
	return string(payload), v, err
}

func read(t testing.TB, r *http.Request) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestMetricNames(t *testing.T) {
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	if _, _, err := ask(t, f, trigger.Join, hook(s.URL)); err != nil {
		t.Fatal(err)
	}
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v %v", problems, err)
	}
	if _, err := trigger.New(trigger.Options{Registerer: f.reg}); err == nil {
		t.Fatal("registered twice")
	}
}

// roundTrip is a fake network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func response(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{}, ContentLength: -1,
		Body: io.NopCloser(bytes.NewReader([]byte(body))),
	}
}

func one(h policy.Trigger) []policy.Trigger { return []policy.Trigger{h} }
