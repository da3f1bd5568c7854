package presence

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	members      prometheus.Gauge
	pending      prometheus.Gauge
	written      *prometheus.CounterVec
	writeErrors  *prometheus.CounterVec
	writeSeconds prometheus.Histogram
	churn        *prometheus.CounterVec
	watches      prometheus.Gauge
	remote       prometheus.Gauge
	redo         *prometheus.CounterVec
	corrected    prometheus.Counter
	readSeconds  prometheus.Histogram
	gateways     *prometheus.GaugeVec
	renewals     prometheus.Counter
	renewErrors  prometheus.Counter
	lost         prometheus.Counter
	suspects     prometheus.Counter
	hidden       prometheus.Counter
	returned     prometheus.Counter
	purged       *prometheus.CounterVec
	ghosts       prometheus.Counter
	dropped      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "fanfare", Subsystem: "presence", Name: n, Help: help}
	}
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(name(n, help)))
	}
	gauge := func(n, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(name(n, help)))
	}
	vec := func(label, n, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(name(n, help)), []string{label})
	}
	seconds := func(n, help string) prometheus.Histogram {
		o := name(n, help)
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name, Help: o.Help,
			Buckets:                         prometheus.ExponentialBuckets(0.0001, 4, 10),
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: 0,
		})
	}
	m := &metrics{
		members:      gauge("members", "Entries of this gateway's sessions."),
		pending:      gauge("pending_writes", "Entries that the bucket does not have yet as they should be."),
		written:      vec("kind", "entries_written_total", "Entries written to the bucket, by kind."),
		writeErrors:  vec("reason", "write_errors_total", "Writes that have to be repeated, by reason."),
		writeSeconds: seconds("write_seconds", "Time from sending an entry to its acknowledgement."),
		churn:        vec("kind", "changes_total", "Changes of remote members told to watches, by kind."),
		watches:      gauge("watches", "Channels and patterns whose remote members are watched."),
		remote:       gauge("remote_entries", "Remote entries kept for watches."),
		redo:         vec("reason", "redo_total", "Comparisons of a view with the bucket, by reason."),
		corrected:    counter("redo_corrections_total", "Differences found by comparing a view with the bucket."),
		readSeconds:  seconds("snapshot_seconds", "Time to read the members of a channel, with its proof."),
		gateways:     prometheus.NewGaugeVec(prometheus.GaugeOpts(name("gateways", "Gateways known, by state, this one included.")), []string{"state"}),
		renewals:     counter("lease_renewals_total", "Successful refreshes of the lease."),
		renewErrors:  counter("lease_renewal_errors_total", "Refreshes of the lease that failed and were tried again."),
		lost:         counter("lease_losses_total", "Leases lost: the gateway goes on under a new generation."),
		suspects:     counter("suspects_total", "Gateways that fell silent and were pinged."),
		hidden:       counter("hidden_total", "Gateways whose members were hidden."),
		returned:     counter("returned_total", "Hidden gateways that came back."),
		purged:       vec("reason", "purged_gateways_total", "Gateways whose entries this one removed from the bucket, by reason."),
		ghosts:       counter("own_ghosts_total", "Entries of this gateway found in the bucket without a session, and removed."),
		dropped:      counter("dropped_messages_total", "Changes that the connection dropped because they were not taken in time."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.members, m.pending, m.written, m.writeErrors, m.writeSeconds, m.churn, m.watches, m.remote, m.redo,
		m.corrected, m.readSeconds, m.gateways, m.renewals, m.renewErrors, m.lost, m.suspects, m.hidden, m.returned,
		m.purged, m.ghosts, m.dropped,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("presence: %w", err)
		}
	}
	return m, nil
}
