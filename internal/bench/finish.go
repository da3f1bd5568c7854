package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"fanfare/protocol"
)

// finish fills in what is known after all readers have ended, and judges the run.
func (r *run) finish() {
	x := r.result
	r.mu.Lock()
	x.Errors, x.Disconnects = maps.Clone(r.errors), maps.Clone(r.disconnects)
	r.mu.Unlock()
	problem := func(format string, args ...any) { x.Problems = append(x.Problems, fmt.Sprintf(format, args...)) }
	if d := x.Deliveries; d != nil {
		d.Received = r.received()
		d.Lost = max(d.Expected-d.Received, 0)
		d.Duplicates = r.sum(func(s *shard) *atomic.Int64 { return &s.duplicates })
		d.OutOfOrder = r.sum(func(s *shard) *atomic.Int64 { return &s.late })
		d.Foreign = r.sum(func(s *shard) *atomic.Int64 { return &s.foreign })
		if d.Lost > 0 {
			problem("%d of %d deliveries were lost", d.Lost, d.Expected)
		}
		if d.Duplicates > 0 {
			problem("%d deliveries came twice", d.Duplicates)
		}
		if d.OutOfOrder > 0 {
			problem("%d deliveries came behind a later message of the same sender", d.OutOfOrder)
		}
		if d.Sent == 0 {
			problem("nothing was sent: the duration is shorter than the time between two messages")
		}
	}
	if p := x.Presence; p != nil {
		if missing := p.JoinsExpected - p.JoinsSeen; missing > 0 {
			problem("%d of %d joins were not told", missing, p.JoinsExpected)
		}
		if missing := p.JoinsExpected - p.LeavesSeen; missing > 0 {
			problem("%d of %d leaves were not told within %s", missing, p.JoinsExpected, r.o.Drain)
		}
	}
	if h := x.History; h != nil {
		if missing := h.Requests - h.Answered; missing > 0 {
			problem("%d of %d requests were not answered", missing, h.Requests)
		}
		if h.Incomplete > 0 {
			problem("%d answers had not the %d messages of the first", h.Incomplete, h.Kept)
		}
		if h.Kept < h.Stored {
			x.Notes = append(x.Notes, fmt.Sprintf("the rule keeps %d of the %d stored messages", h.Kept, h.Stored))
		}
	}
	var cut int64
	for _, n := range x.Disconnects {
		cut += n
	}
	if cut > 0 {
		problem("%d connections were lost: %s", cut, reasons(x.Disconnects))
	}
	if len(x.Errors) > 0 {
		problem("the server refused: %s", r.reasons())
	}
	x.Generator.Bottleneck = x.bottleneck()
}

// reasons lists the errors of the server with what to do about them.
func (r *run) reasons() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := []string{reasons(r.errors)}
	for _, code := range slices.Sorted(maps.Keys(r.errors)) {
		if hint := needs(protocol.Code(code)); hint != "" {
			parts = append(parts, code+": "+hint)
		}
	}
	return strings.Join(parts, "; ")
}

func reasons(m map[string]int64) string {
	if len(m) == 0 {
		return "no error came"
	}
	var b strings.Builder
	for i, reason := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%d)", reason, m[reason])
	}
	return b.String()
}

// bottleneck tells when the figures are those of the generator, or of a machine that it shares with the server.
func (x *Result) bottleneck() string {
	g := &x.Generator
	switch {
	case g.Cores > 0.85*float64(g.CPUs):
		return fmt.Sprintf("the generator itself used %.1f of the %d processors that it may use: latencies are too high, spread the load over more machines", g.Cores, g.CPUs)
	case x.Late != nil && x.Latency != nil && x.Late.P99 > 2 && x.Late.P99 > x.Latency.P99/4:
		return fmt.Sprintf("the generator sent late (p99 %.1f ms), which the latencies hold", x.Late.P99)
	case g.MachineIdle >= 0 && g.MachineIdle < 0.05:
		return fmt.Sprintf("this machine was full (%.0f %% idle): if the server is on it too, they compete", g.MachineIdle*100)
	}
	return ""
}
