package natsd

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

// serverMetric is one number that the NATS server keeps about itself.
type serverMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(v *server.Varz, js *server.JSInfo) float64
}

// monitored is a NATS server of ours: a Server, or an Embedded.
type monitored interface {
	server() *server.Server // nil while it does not run
	Healthy() error
	syncInterval() time.Duration
	dataDir() string
}

// serverCollector reads the server when it is scraped; while it does not run only fanfare_broker_server_up and the
// room on its disk are told.
type serverCollector struct {
	s                 monitored
	up, healthy, sync *prometheus.Desc
	disk, diskFree    *prometheus.Desc
	metrics           []serverMetric
	expiry            *prometheus.Desc // nil without TLS
	notAfter          func() (time.Time, error)
}

// Collector has the metrics of a Server.
func (s *Server) Collector() prometheus.Collector {
	c := newServerCollector(s)
	if s.o.TLS.Cert != "" { // the same metric as of a gateway's certificate, and so the same alert
		c.expiry = prometheus.NewDesc("fanfare_tls_certificate_expiry_seconds", "Time until the certificate in force expires; negative when it has.", nil, nil)
		c.notAfter = s.notAfter
	}
	return c
}

// Collector has the metrics of an embedded broker, under the names of those of a Server.
func (e *Embedded) Collector() prometheus.Collector { return newServerCollector(e) }

func newServerCollector(s monitored) *serverCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("fanfare_broker_server_"+name, help, nil, nil)
	}
	c := &serverCollector{
		s:       s,
		up:      desc("up", "1 while the NATS server runs."),
		healthy: desc("healthy", "1 while it is fit for gateways, as /readyz says."),
		sync:    desc("sync_interval_seconds", "How often stored messages are synced to disk; 0 is before each acknowledgement."),

		disk:     desc("disk_bytes", "Size of the file system that holds data_dir."),
		diskFree: desc("disk_free_bytes", "What this process may still write there."),
	}
	gauge := func(name, help string, read func(*server.Varz, *server.JSInfo) float64) {
		c.metrics = append(c.metrics, serverMetric{desc(name, help), prometheus.GaugeValue, read})
	}
	counter := func(name, help string, read func(*server.Varz, *server.JSInfo) float64) {
		c.metrics = append(c.metrics, serverMetric{desc(name, help), prometheus.CounterValue, read})
	}
	gauge("connections", "Connections of gateways.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.Connections) })
	gauge("routes", "Connections to peers.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.Routes) })
	gauge("subscriptions", "Subjects that somebody listens to.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.Subscriptions) })
	gauge("streams", "Streams of which this node has a replica.", func(_ *server.Varz, j *server.JSInfo) float64 { return float64(j.Streams) })
	gauge("store_bytes", "Stored bytes on this node.", func(_ *server.Varz, j *server.JSInfo) float64 { return float64(j.Store) })
	gauge("store_limit_bytes", "The most it may store.", func(_ *server.Varz, j *server.JSInfo) float64 { return float64(j.Config.MaxStore) })
	gauge("messages", "Stored messages on this node.", func(_ *server.Varz, j *server.JSInfo) float64 { return float64(j.Messages) })
	gauge("meta_leader", "1 on the node that leads the cluster, or has none beside it.", func(*server.Varz, *server.JSInfo) float64 {
		if srv := s.server(); srv != nil && (!srv.JetStreamIsClustered() || srv.JetStreamIsLeader()) {
			return 1
		}
		return 0
	})
	gauge("meta_leader_known", "1 while the cluster has a leader as far as this node knows.", func(_ *server.Varz, j *server.JSInfo) float64 {
		if j.Meta == nil || j.Meta.Leader != "" {
			return 1
		}
		return 0
	})
	gauge("peers", "Nodes of the cluster, this one too; offline ones count.", func(_ *server.Varz, j *server.JSInfo) float64 {
		if j.Meta == nil {
			return 1
		}
		return float64(j.Meta.Size)
	})
	counter("received_messages_total", "Messages from gateways and peers.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.InMsgs) })
	counter("sent_messages_total", "Messages to gateways and peers.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.OutMsgs) })
	counter("received_bytes_total", "Bytes from gateways and peers.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.InBytes) })
	counter("sent_bytes_total", "Bytes to gateways and peers.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.OutBytes) })
	counter("slow_consumers_total", "Connections closed because they did not read.", func(v *server.Varz, _ *server.JSInfo) float64 { return float64(v.SlowConsumers) })
	counter("api_requests_total", "Requests to JetStream.", func(_ *server.Varz, j *server.JSInfo) float64 { return float64(j.API.Total) })
	counter("api_errors_total", "Those that were answered with an error.", func(_ *server.Varz, j *server.JSInfo) float64 { return float64(j.API.Errors) })
	return c
}

func (c *serverCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.up
	out <- c.healthy
	out <- c.sync
	out <- c.disk
	out <- c.diskFree
	if c.expiry != nil {
		out <- c.expiry
	}
	for _, m := range c.metrics {
		out <- m.desc
	}
}

func (c *serverCollector) Collect(out chan<- prometheus.Metric) {
	truth := map[bool]float64{true: 1}
	srv := c.s.server()
	out <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, truth[srv != nil])
	out <- prometheus.MustNewConstMetric(c.healthy, prometheus.GaugeValue, truth[c.s.Healthy() == nil])
	out <- prometheus.MustNewConstMetric(c.sync, prometheus.GaugeValue, c.s.syncInterval().Seconds())
	if size, free, err := diskSpace(c.s.dataDir()); err == nil {
		out <- prometheus.MustNewConstMetric(c.disk, prometheus.GaugeValue, float64(size))
		out <- prometheus.MustNewConstMetric(c.diskFree, prometheus.GaugeValue, float64(free))
	}
	if c.expiry != nil {
		if at, err := c.notAfter(); err == nil {
			out <- prometheus.MustNewConstMetric(c.expiry, prometheus.GaugeValue, time.Until(at).Seconds())
		}
	}
	if srv == nil {
		return
	}
	v, err := srv.Varz(&server.VarzOptions{})
	if err != nil {
		return // it is stopping
	}
	js, err := srv.Jsz(&server.JSzOptions{})
	if err != nil {
		return // as above
	}
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(v, js))
	}
}
