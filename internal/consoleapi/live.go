package consoleapi

import (
	"fmt"
	"math"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"fanfare/protocol"
)

// Scene is what goes on in a realtime server.
type Scene struct {
	Gateways []GatewayState `json:"gateways"`
	// Sockets of the server, on all gateways that answered.
	Sockets int `json:"sockets"`
	// Channels with members, the fullest first, at most MaxChannels.
	Channels []ChannelState `json:"channels"`
	// ChannelsTotal counts the others too.
	ChannelsTotal int `json:"channels_total"`
	// Measures of every gateway that answered. They are not summed up: counters begin anew with a gateway.
	Measures []GatewayMeasures `json:"measures"`
}

// GatewayMeasures are one gateway's.
type GatewayMeasures struct {
	Gateway protocol.NodeID `json:"gateway"`
	Measures
}

// MaxChannels bounds Scene.Channels.
const MaxChannels = 300

// GatewayState is one gateway as this one sees it.
type GatewayState struct {
	ID      protocol.NodeID `json:"id"`
	Addr    string          `json:"addr"`
	State   string          `json:"state"`
	Started time.Time       `json:"started"`
	// Sockets of the server there; nil = it did not answer.
	Sockets *int `json:"sockets"`
}

// ChannelState is one channel.
type ChannelState struct {
	Channel protocol.Channel `json:"channel"`
	Members int              `json:"members"`
	// Messages since the channel was last opened, on the gateway that has seen most.
	Messages uint64 `json:"messages"`
}

// Measures are the metrics of a gateway that the console shows.
type Measures struct {
	At time.Time `json:"at"`
	// Values by name, without fanfare_, and label value ("" without a label).
	Values map[string]map[string]float64 `json:"values"`
	// Histograms by name and label value.
	Histograms map[string]map[string]Histogram `json:"histograms"`
}

// Histogram counts what took at most so many seconds.
type Histogram struct {
	Count uint64 `json:"count"`
	// Buckets are upper bound and how many were within it, growing.
	Buckets [][2]float64 `json:"buckets"`
}

// measureEvery bounds how often the metrics are read, however many look.
const measureEvery = 900 * time.Millisecond

// shown are the metrics that the console shows.
var shown = map[string]bool{ //nolint:gochecknoglobals // constant table
	"sessions": true, "topics": true, "publications_total": true, "deliveries_total": true, "sent_bytes_total": true,
	"frames_received_total": true, "backlog_sessions": true, "evictions_total": true, "frames_dropped_total": true,
	"errors_total": true, "sessions_accepted_total": true, "sessions_refused_total": true, "sessions_closed_total": true,
	"broker_connected": true, "broker_dropped_total": true, "broker_gaps_total": true, "broker_gaps_repaired_total": true,
	"broker_gaps_unrepaired_total": true, "trigger_total": true, "trigger_breakers_open": true,
	"fanout_latency_seconds": true, "stage_latency_seconds": true, "broker_publish_ack_seconds": true,
}

// Measure reads this gateway's metrics, or repeats what it has read just now.
func (c *Console) Measure() (Measures, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.measured) < measureEvery {
		return c.measures, nil
	}
	families, err := c.o.Gatherer.Gather()
	if err != nil {
		return Measures{}, fmt.Errorf("metrics: %w", err)
	}
	m := Measures{At: now, Values: make(map[string]map[string]float64), Histograms: make(map[string]map[string]Histogram)}
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), "fanfare_")
		if !ok || !shown[name] {
			continue
		}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			m.Histograms[name] = histograms(f)
		} else {
			m.Values[name] = values(f)
		}
	}
	c.measured, c.measures = now, m
	return m, nil
}

func label(m *dto.Metric) string {
	for _, l := range m.GetLabel() {
		return l.GetValue() // the first one says what; the rest is summed
	}
	return ""
}

func values(f *dto.MetricFamily) map[string]float64 {
	out := make(map[string]float64)
	for _, m := range f.GetMetric() {
		out[label(m)] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return out
}

func histograms(f *dto.MetricFamily) map[string]Histogram {
	out := make(map[string]Histogram)
	for _, m := range f.GetMetric() {
		h := Histogram{Count: m.GetHistogram().GetSampleCount(), Buckets: [][2]float64{}}
		for _, b := range m.GetHistogram().GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 0) {
				h.Buckets = append(h.Buckets, [2]float64{b.GetUpperBound(), float64(b.GetCumulativeCount())})
			}
		}
		out[label(m)] = h
	}
	return out
}
