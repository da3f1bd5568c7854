package settings

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/policy"
)

type metrics struct {
	servers    prometheus.Gauge
	rules      prometheus.Gauge
	changes    prometheus.Counter
	lastChange prometheus.Gauge
	invalid    prometheus.Counter
	refused    prometheus.Gauge
	conflicts  prometheus.Counter
	restarts   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		servers:    gauge("fanfare_settings_servers", "Realtime servers in force, disabled ones included."),
		rules:      gauge("fanfare_settings_rules", "Channel rules in force, disabled ones included."),
		changes:    counter("fanfare_settings_changes_total", "Changes of the settings that came into force."),
		lastChange: gauge("fanfare_settings_last_change_timestamp_seconds", "When the settings in force came into force."),
		invalid:    counter("fanfare_settings_invalid_total", "Stored settings that could not be used; the previous ones stayed in force."),
		refused:    gauge("fanfare_settings_refused", "Realtime servers whose newest settings cannot be used, older ones being in force; of a settings file 1."),
		conflicts:  counter("fanfare_settings_conflicts_total", "Writes that lost against another write of the same server."),
		restarts:   counter("fanfare_settings_watch_restarts_total", "Times the watch on the bucket was started again."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.servers, m.rules, m.changes, m.lastChange, m.invalid, m.refused, m.conflicts, m.restarts} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register settings metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(b *policy.Book) {
	rules := 0
	for _, s := range b.Servers() {
		rules += len(s.Channels)
	}
	m.servers.Set(float64(len(b.Servers())))
	m.rules.Set(float64(rules))
	m.changes.Inc()
	m.lastChange.SetToCurrentTime()
}
