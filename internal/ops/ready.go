package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// probeTimeout is what all checks of one request get together; a kubelet gives up after one second by default.
const probeTimeout = 800 * time.Millisecond

// Check is one condition of readiness.
type Check struct {
	Name string
	// Probe returns nil when the condition holds, and else why not. It must be cheap: anybody who reaches the
	// listener can call it as often as they like.
	Probe func(context.Context) error
}

// Note is something readiness does not depend on but an operator should see.
type Note struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// report is what /readyz answers.
type report struct {
	Ready  bool     `json:"ready"`
	Checks []result `json:"checks"`
	Notes  []Note   `json:"notes,omitempty"`
}

type result struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// readyz runs every check and lists it, as plain text or, to who accepts it, as JSON; 503 when one fails.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	report := s.ready(r.Context())
	status := http.StatusOK
	if !report.Ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(report)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(report.text()))
}

func (s *Server) ready(ctx context.Context) report {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	out := report{Ready: true, Checks: make([]result, len(s.opts.Checks)), Notes: s.opts.Notes}
	var wg sync.WaitGroup
	for i, check := range s.opts.Checks {
		wg.Go(func() {
			out.Checks[i] = result{Name: check.Name, OK: true}
			if err := check.Probe(ctx); err != nil {
				out.Checks[i].OK, out.Checks[i].Error = false, err.Error()
			}
		})
	}
	wg.Wait()
	for _, c := range out.Checks {
		out.Ready = out.Ready && c.OK
	}
	return out
}

func (r report) text() string {
	var b strings.Builder
	if r.Ready {
		b.WriteString("ready\n")
	} else {
		b.WriteString("not ready\n")
	}
	for _, c := range r.Checks {
		if c.OK {
			fmt.Fprintf(&b, "ok   %s\n", c.Name)
		} else {
			fmt.Fprintf(&b, "fail %s: %s\n", c.Name, c.Error)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note %s: %s\n", n.Name, n.Text)
	}
	return b.String()
}
