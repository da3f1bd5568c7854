package lifecycle

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	written *prometheus.CounterVec
	lost    prometheus.Counter
	resyncs prometheus.Counter
	retries prometheus.Counter
	ended   prometheus.Counter
	queued  prometheus.Collector

	delivered, undelivered prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, queued func() float64) (*metrics, error) {
	m := &metrics{
		written: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_events_total", Help: "Lifecycle events stored, by type.",
		}, []string{"type"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_lost_total", Help: "Lifecycle events given up because too many waited or others had written in this gateway's name.",
		}),
		resyncs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_resyncs_total", Help: "Times a gateway said that events are lost and told its members anew.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_retries_total", Help: "Writes of lifecycle events that were tried again.",
		}),
		ended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_gateways_ended_total", Help: "Lost gateways whose members this one ended.",
		}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_delivered_total", Help: "Lifecycle events accepted by webhooks.",
		}),
		undelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanfare_lifecycle_deliveries_failed_total", Help: "Deliveries of lifecycle events to webhooks that failed and are made again.",
		}),
		queued: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fanfare_lifecycle_queued", Help: "Lifecycle events that wait to be stored.",
		}, queued),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.written, m.lost, m.resyncs, m.retries, m.ended, m.queued, m.delivered, m.undelivered} {
		if err := reg.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("lifecycle metrics: %w", err))
		}
	}
	return m, errors.Join(errs...)
}
