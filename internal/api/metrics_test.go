package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	b := newBench(t, func(o *Options) { o.Registerer = reg })
	b.v1(http.MethodPost, "/events", `{"channel":"room1","data":1}`).want(t, http.StatusOK, "")
	b.v1(http.MethodPost, "/events", `{"channel":"chat/a","data":1,"store":true}`).want(t, http.StatusOK, "")
	b.v1(http.MethodPost, "/events", `{"channel":"nowhere","data":1}`).want(t, http.StatusNotFound, "")
	b.call("MADEUP", "/made/up", "wrong", "").want(t, http.StatusNotFound, "")
	b.v1(http.MethodGet, "/channels/secret-name/presence", "").want(t, http.StatusNotFound, "")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	for outcome, want := range map[string]float64{"delivered": 1, "stored": 1, "refused": 1} {
		if got := testutil.ToFloat64(b.api.metrics.events.WithLabelValues(outcome)); got != want {
			t.Errorf("%s: %v events, want %v", outcome, got, want)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if text := f.String(); strings.Contains(text, "secret-name") || strings.Contains(text, "MADEUP") || strings.Contains(text, "/made/up") {
			t.Errorf("a label is not bounded: %s", text)
		}
	}
}
