package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

// figure is one picture.
type figure struct {
	name, title, x, y string
	logY              bool
	points            []point
}

// point is one measurement.
type point struct {
	line     string
	x        float64
	size     int // about how many sockets it needs
	gateways int
	broker   bool
	measure  func(ctx context.Context, l *lab, short bool) (float64, error)
}

func names() (all []string) {
	for _, f := range figures {
		all = append(all, f.name)
	}
	return all
}

func text[T int | float64](n T) string { return strconv.FormatFloat(float64(n), 'f', -1, 64) }

// seconds is how long messages are sent for one point.
func seconds(short bool) string {
	if short {
		return "1s"
	}
	return "8s"
}

// cost is CPU per million deliveries of messages.
func cost(args ...string) func(context.Context, *lab, bool) (float64, error) {
	return costAfter(2*time.Second, args...)
}

// costAfter begins to count when the joins have settled.
func costAfter(warmup time.Duration, args ...string) func(context.Context, *lab, bool) (float64, error) {
	return func(ctx context.Context, l *lab, short bool) (float64, error) {
		f, err := l.bench(ctx, -1, append(args, "--warmup", warmup.String(), "--duration", seconds(short))...)
		if err != nil {
			return 0, err
		}
		return f.Server.PerMillion, nil
	}
}

//nolint:gochecknoglobals // a table
var figures = []figure{
	{
		name: "members", title: "CPU of a delivery over members of a channel", x: "members of each channel (10 000 connections, 10 000 deliveries/s)",
		y: "CPU seconds per million deliveries", logY: true, points: overMembers(),
	},
	{
		name: "channels", title: "CPU of a delivery over channels", x: "channels of 2 members (1000 messages/s in all)",
		y: "CPU seconds per million deliveries", points: overChannels(),
	},
	{name: "rate", title: "CPU of a delivery over message rate", x: "messages/s to 1000 members", y: "CPU seconds per million deliveries", logY: true, points: overRate()},
	{
		name: "gateways", title: "CPU of a delivery over gateways", x: "gateways (1000 members in all, 50 messages/s)", y: "CPU seconds per million deliveries",
		points: overGateways(),
	},
	{name: "memory", title: "Memory over connections", x: "connections, idle, joined, 10 members a channel", y: "KiB of RSS per connection", points: overConnections()},
	{
		name: "histories", title: "Memory over channels with history", x: "channels with history, one member each, 3 messages", y: "MiB of RSS more than without any", logY: true,
		points: overHistories(),
	},
	{name: "joins", title: "Join rate over channel size", x: "members of the channel", y: "connects and joins per second", points: overSize()},
}

func overMembers() (points []point) {
	const connections = 10_000
	for _, m := range []int{1, 3, 10, 30, 100, 300, 1000, 3000, 10_000} {
		channels := max(connections/m, 1)
		points = append(points, point{
			line: "1 msg/s each channel", x: float64(m), size: connections,
			measure: cost("rooms", "--channel", "live/m", "--channels", text(channels), "--members", text(m), "--rate", "1"),
		})
	}
	return points
}

func overChannels() (points []point) {
	for _, c := range []int{10, 100, 1000, 10_000, 30_000, 100_000} {
		joins := max(1, c/1000)
		points = append(points, point{
			line: "2 members", x: float64(c), size: 2 * c / joins,
			// Presence of 200 000 members is written to the broker for some seconds after they have joined.
			measure: costAfter(2*time.Second+time.Duration(c/4)*time.Millisecond, "rooms", "--channel", "live/c", "--channels", text(c), "--members", "2",
				"--joins", text(joins), "--rate", text(1000/float64(c)), "--sender-rate", "1000"),
		})
	}
	return points
}

func overRate() (points []point) {
	for _, rate := range []int{2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000} {
		points = append(points, point{
			line: "1000 members", x: float64(rate), size: 1000,
			measure: cost("fan-out", "--channel", "live/r", "--members", "1000", "--rate", text(rate), "--sender-rate", "100"),
		})
	}
	return points
}

func overGateways() (points []point) {
	args := []string{"fan-out", "--channel", "live/g", "--members", "1000", "--rate", "50"}
	points = append(points, point{line: "embedded broker", x: 1, size: 1000, measure: cost(args...)})
	for n := 1; n <= 4; n++ {
		points = append(points, point{line: "all gateways and the broker", x: float64(n), size: 1000, gateways: n, broker: true, measure: cost(args...)})
	}
	return points
}

func overConnections() (points []point) {
	const most = 18_000 // of one process, which may open 20 000 files
	idle := func(n int) func(context.Context, *lab, bool) (float64, error) {
		return func(ctx context.Context, l *lab, _ bool) (float64, error) {
			all, err := l.everywhere(ctx, "idle", "--channel", "live/i", "--channels", text(n/10), "--members", "10", "--settle", "4s", "--duration", "1s")
			sum := 0.0
			for _, f := range all {
				if f != nil {
					sum += f.Server.KiBPerSocket
				}
			}
			return sum / float64(len(all)), err
		}
	}
	for _, n := range []int{500, 1000, 2500, 5000, 10_000, most} {
		points = append(points, point{line: "one gateway", x: float64(n), size: n, measure: idle(n)})
	}
	for _, gateways := range []int{2, 3, 4} {
		points = append(points, point{line: "several, 18 000 each", x: float64(gateways * most), size: gateways * most, gateways: gateways, broker: true, measure: idle(most)})
	}
	return points
}

func overHistories() (points []point) {
	for _, c := range []int{10, 100, 1000, 5000, 10_000, 20_000} {
		joins := max(1, c/500)
		rate := min(0.6, 2000/float64(c)) // what a disk takes, synced
		kept := func(channel string) func(context.Context, *lab, bool) (float64, error) {
			return func(ctx context.Context, l *lab, _ bool) (float64, error) {
				before, err := l.rss(ctx)
				if err != nil {
					return 0, err
				}
				if _, err := l.bench(ctx, -1, "rooms", "--channel", channel, "--channels", text(c), "--members", "1", "--joins", text(joins),
					"--rate", text(rate), "--warmup", "0s", "--duration", text(3/rate)+"s", "--sender-rate", "1000"); err != nil {
					return 0, err
				}
				after, err := l.rss(ctx)
				return math.Max(after-before, 0) / (1 << 20), err
			}
		}
		points = append(points, point{line: "history 100", x: float64(c), size: min(c/joins, 900), measure: kept("kept/h")},
			point{line: "no history", x: float64(c), size: min(c/joins, 900), measure: kept("live/h")})
	}
	return points
}

func overSize() (points []point) {
	for _, n := range []int{10, 100, 300, 1000, 3000, 10_000} {
		points = append(points, point{line: "nobody watches presence", x: float64(n), size: n, measure: func(ctx context.Context, l *lab, _ bool) (float64, error) {
			// A short channel is filled again and again, so that all points are about as many joins.
			args := []string{"storm", "--channel", "live/j", "--channels", text(max(1, 3000/n)), "--members", text(n), "--rate", "0"}
			f, err := l.bench(ctx, -1, args...)
			if err != nil {
				return 0, err
			}
			return f.Connect.PerSecond, nil
		}})
	}
	for _, n := range []int{100, 300, 1000, 3000, 10_000} {
		points = append(points, point{line: "10 watch presence", x: float64(n), size: n, measure: func(ctx context.Context, l *lab, _ bool) (float64, error) {
			f, err := l.bench(ctx, -1, "presence", "--channel", "live/p", "--members", text(n), "--observers", "10")
			if err != nil {
				return 0, err
			}
			return f.Connect.PerSecond, nil
		}})
	}
	return points
}

// String names a point in messages.
func (p point) String() string { return fmt.Sprintf("%s %g", p.line, p.x) }
