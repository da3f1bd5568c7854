package history

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	reads   *prometheus.HistogramVec
	failed  *prometheus.CounterVec
	resumes *prometheus.CounterVec
	epochs  prometheus.Counter
	trims   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		reads: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fanfare_history_read_seconds", Help: "Time of one request to the stream, by kind.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}, []string{"kind"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_history_read_errors_total", Help: "Requests to the stream that failed, by kind.",
		}, []string{"kind"}),
		resumes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_history_resumes_total", Help: "Resumes, by whether they were proved whole.",
		}, []string{"whole"}),
		epochs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_history_epoch_changes_total", Help: "Streams seen recreated or gone backwards.",
		}),
		trims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_history_trims_total", Help: "Trims of a channel, by result: done, failed, skipped (queue full).",
		}, []string{"result"}),
	}
	m.resumes.WithLabelValues(label(true))
	m.resumes.WithLabelValues(label(false))
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.reads, m.failed, m.resumes, m.epochs, m.trims} {
		if err := r.Register(c); err != nil {
			return nil, err //nolint:wrapcheck // New adds the context
		}
	}
	return m, nil
}
