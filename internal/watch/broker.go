package watch

// brokerBoard looks at the brokers, and at them as the gateways see them.
func brokerBoard() dashboard {
	each := func(metric string) query {
		return q("{{instance}}", "sum by (instance) (fanfare_broker_server_%s{%s})", metric, selected)
	}
	rate := func(metric string) query {
		return q("{{instance}}", "sum by (instance) (rate(fanfare_broker_server_%s{%s}[$__rate_interval]))", metric, selected)
	}
	const gateways = `namespace=~"$namespace"`
	return dashboard{
		name: "broker", title: "Fanfare / Broker", anchor: "fanfare_broker_server_up",
		description: "The NATS servers of `fanfare broker`, or embedded in a gateway: cluster, disk, traffic; and publishing as the gateways see it.",
		panels: []panel{
			row("Cluster"),
			stat("Brokers healthy", "short", "Fit for gateways, as their /readyz says.", q("", "sum(fanfare_broker_server_healthy{%s})", selected)).warnBelow(3, 2),
			stat("Nodes of the cluster", "short", "As the cluster counts, offline ones too.", q("", "max(fanfare_broker_server_peers{%s})", selected)),
			stat("Leaders", "short", "Nodes that lead the cluster: it should be 1.", q("", "sum(fanfare_broker_server_meta_leader{%s})", selected)).warnBelow(1, 0.5),
			stat("Fullest store", "percentunit", "Stored bytes of the fullest broker as part of its limit.",
				q("", "max(fanfare_broker_server_store_bytes{%[1]s} / (fanfare_broker_server_store_limit_bytes{%[1]s} > 0))", selected)).warnAbove(0.8, 0.95),
			stat("Fullest disk", "percentunit", "Used part of the file system with the store, of the broker with the fullest.",
				q("", "max(1 - fanfare_broker_server_disk_free_bytes{%[1]s} / fanfare_broker_server_disk_bytes{%[1]s})", selected)).warnAbove(0.85, 0.95),
			stat("Slow consumers", "short", "Connections cut because they did not read, over the time shown.",
				q("", "sum(increase(fanfare_broker_server_slow_consumers_total{%s}[$__range]))", selected)).warnAbove(0.5, 5),
			series("Health", "short", "1 while a broker is fit for gateways.", each("healthy")).upToOne(),
			series("Leader known", "short", "1 while a broker knows the leader of the cluster; together at 0 there is none.", each("meta_leader_known")).upToOne(),
			series("Leads", "short", "Which broker leads the cluster.", each("meta_leader")).upToOne().stack(),

			row("Publishing, as gateways see it"),
			heat("Acknowledgement", "From the publish of a stored publication to its acknowledgement, retries included: the disks and the network of the cluster.", "fanfare_broker_publish_ack_seconds", gateways),
			series("Acknowledgement percentiles", "s", "The same in numbers.", quantiles("fanfare_broker_publish_ack_seconds", gateways)...).wide().tall(),
			series("Publications", "ops", "By kind and result.", q("{{kind}} {{result}}", "%s", perSecond("fanfare_broker_publications_total", gateways, "kind, result"))),
			series("Sent again, under way", "short", "Stored publications sent again a second, and those that wait for their acknowledgement.",
				q("sent again/s", "sum(rate(fanfare_broker_publish_retries_total{%s}[$__rate_interval]))", gateways),
				q("under way", "sum(fanfare_broker_publish_in_flight{%s})", gateways)),
			series("Connections of gateways", "short", "1 while all connections of a gateway are up, and reconnects a second.",
				q("{{instance}}", "fanfare_broker_connected{%s}", gateways),
				q("reconnects/s", "sum(rate(fanfare_broker_reconnects_total{%s}[$__rate_interval]))", gateways)),

			row("Store"),
			series("Stored", "bytes", "On each broker, and its limit.", each("store_bytes"), q("limit of {{instance}}", "sum by (instance) (fanfare_broker_server_store_limit_bytes{%s})", selected)),
			series("Room on the disk", "bytes", "What may still be written to the file system with the store.", each("disk_free_bytes")),
			series("Stored messages", "short", "On each broker.", each("messages")),
			series("Streams", "short", "Streams of which a broker has a replica.", each("streams")),
			series("Requests to JetStream", "ops", "And those answered with an error.",
				q("{{instance}}", "sum by (instance) (rate(fanfare_broker_server_api_requests_total{%s}[$__rate_interval]))", selected),
				q("errors of {{instance}}", "sum by (instance) (rate(fanfare_broker_server_api_errors_total{%s}[$__rate_interval]))", selected)),
			series("Sync interval", "s", "How long acknowledged messages may wait for the disk; 0 is not at all.", each("sync_interval_seconds")),

			row("Traffic"),
			series("Messages in", "ops", "From gateways and peers.", rate("received_messages_total")),
			series("Messages out", "ops", "To gateways and peers.", rate("sent_messages_total")),
			series("Bytes out", "Bps", "To gateways and peers.", rate("sent_bytes_total")),
			series("Bytes in", "Bps", "From gateways and peers.", rate("received_bytes_total")),
			series("Connections", "short", "Of gateways.", each("connections")),
			series("Subscriptions", "short", "Subjects that somebody listens to.", each("subscriptions")),
			series("Routes", "short", "Connections to peers.", each("routes")),

			row("Process"),
			series("CPU", "percentunit", "Cores used.", q("{{instance}}", "rate(process_cpu_seconds_total{%[1]s}[$__rate_interval]) and on (instance, job) fanfare_broker_server_up{%[1]s}", selected)),
			series("Memory", "bytes", "Resident memory.", q("{{instance}}", "process_resident_memory_bytes{%[1]s} and on (instance, job) fanfare_broker_server_up{%[1]s}", selected)),
			series("Goroutines", "short", "A few for each connection and stream.", q("{{instance}}", "go_goroutines{%[1]s} and on (instance, job) fanfare_broker_server_up{%[1]s}", selected)),
		},
	}
}
