package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes a result for people.
func (x *Result) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row(string(x.Scenario), "%s connections, %s channels, %s members each", number(x.Connections), number(x.Channels), number(x.Members))
	if x.Deliveries != nil {
		row("", "%g messages/s and channel, %d B, %.1f s", x.Rate, x.Size, x.Seconds)
	}
	x.connects("connect and join", x.Connect, row)
	x.connects("reconnect", x.Reconnect, row)
	if d := x.Deliveries; d != nil {
		row("messages", "%s", number(d.Sent))
		row("deliveries", "%s of %s, %s/s, %g for each read", number(d.Received), number(d.Expected), number(int64(d.PerSecond)), d.PerRead)
		row("lost, twice, disordered", "%s, %s, %s", number(d.Lost), number(d.Duplicates), number(d.OutOfOrder))
		if d.Foreign > 0 {
			row("of others", "%s", number(d.Foreign))
		}
	}
	if h := x.History; h != nil {
		row("stored", "%s messages, of which an answer has %s", number(h.Stored), number(h.Kept))
		row("stored until acknowledged", "%s", h.StoreLatency)
		row("requests", "%s of %s answered, %.0f/s, %.1f MB/s", number(h.Answered), number(h.Requests), h.PerSecond, h.MBPerSecond)
	}
	if p := x.Presence; p != nil {
		row("joins", "%s of %s seen by %d observers after %.2f s", number(p.JoinsSeen), number(p.JoinsExpected), p.Observers, p.JoinSeconds)
		row("", "%s", p.JoinLatency)
		row("leaves", "%s of %s after %.2f s", number(p.LeavesSeen), number(p.JoinsExpected), p.LeaveSeconds)
		row("", "%s", p.LeaveLatency)
	}
	if x.Latency != nil {
		row("latency", "%s", x.Latency)
	}
	if x.Late != nil {
		row("sent late", "%s", x.Late)
	}
	if s := x.Server; s != nil {
		row("server", "%.2f CPU s, %.2f cores, %.0f MiB", s.CPUSeconds, s.Cores, s.RSSMiB)
		if s.PerMillion > 0 {
			row("", "%.2f CPU s per million deliveries", s.PerMillion)
		}
		if s.KiBPerSocket != 0 {
			row("", "%.1f KiB per connection (Go heap %.1f, stacks %.1f)", s.KiBPerSocket, s.HeapPerSocket, s.StackPer)
		}
	}
	g := &x.Generator
	row("generator", "%.2f CPU s, %.2f of %d cores%s", g.CPUSeconds, g.Cores, g.CPUs, idle(g.MachineIdle))
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	var b strings.Builder
	for _, note := range x.Notes {
		b.WriteString("note: " + note + "\n")
	}
	if g.Bottleneck != "" {
		b.WriteString("bottleneck: " + g.Bottleneck + "\n")
	}
	for _, p := range x.Problems {
		b.WriteString("problem: " + p + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (x *Result) connects(name string, c *Connect, row func(string, string, ...any)) {
	if c == nil {
		return
	}
	text := fmt.Sprintf("%s in %.2f s, %s/s", number(c.Sockets), c.Seconds, number(int64(c.PerSecond)))
	if c.CPU > 0 {
		text += fmt.Sprintf(", %.0f µs of the server's CPU each", c.CPU)
	}
	if c.Busy > 0 {
		text += fmt.Sprintf("; %s times told to come back later", number(c.Busy))
	}
	row(name, "%s", text)
	if x.Scenario != FanOut && x.Scenario != Rooms {
		row("", "%s", c.Latency)
	}
}

func idle(part float64) string {
	if part < 0 {
		return ""
	}
	return fmt.Sprintf("; machine %.0f %% idle", part*100)
}

// String is one line for people.
func (l *Latency) String() string {
	if l == nil {
		return "none"
	}
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms", l.P50, l.P99, l.P999, l.Max)
}

// number writes a count with its thousands apart.
func number[T int | int64](n T) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
