package watch

// gatewayBoard looks into single gateways: what they hold, where their time goes, and what they refuse.
func gatewayBoard() dashboard {
	each := func(metric string) query { return q("{{instance}}", "sum by (instance) (%s{%s})", metric, selected) }
	rate := func(legend, metric string) query {
		return q(legend, "sum(rate(%s{%s}[$__rate_interval]))", metric, selected)
	}
	by := func(label, metric string) query { return q("{{"+label+"}}", "%s", perSecond(metric, selected, label)) }
	anyBy := func(label, metric string) query {
		return whenAny("{{"+label+"}}", "%s", perSecond(metric, selected, label))
	}
	return dashboard{
		name: "gateway", title: "Fanfare / Gateway", anchor: "fanfare_sessions",
		description: "Single gateways: sockets, channels, the way of a message stage by stage, presence, history, webhooks, the HTTP API, and the process.",
		variables: []variable{{
			"stage", "Stage", `label_values({__name__=~"fanfare_stage_latency_seconds(_count)?"}, stage)`,
			"Of the fan-out, for the heatmap of stages.",
		}},
		panels: []panel{
			row("Sockets"),
			stat("Sockets", "short", "Open sockets now.", q("", "sum(fanfare_sessions{%s})", selected)),
			stat("Fullest gateway", "percentunit", "Open sockets of the fullest gateway, as part of limits.sockets; 0 where that is off.",
				q("", "max(fanfare_sessions{%[1]s} / (fanfare_sessions_limit{%[1]s} > 0)) or vector(0)", selected)).warnAbove(0.75, 0.9),
			stat("Channels", "short", "Channels and patterns that gateways listen to; one counts once for each gateway.", q("", "sum(fanfare_topics{%s})", selected)),
			stat("Slow readers", "short", "Sockets whose backlog is being written now.", q("", "sum(fanfare_backlog_sessions{%s})", selected)).warnAbove(100, 1000),
			stat("Drained", "percentunit", "Part of the sockets that stopping gateways have sent away; 1 while none drains.",
				q("", "sum(fanfare_drained_sessions_total{%[1]s}) / (sum(fanfare_drain_sessions{%[1]s}) > 0) or vector(1)", selected)),
			stat("Certificate expires in", "s", "Time until the certificate in force expires; 0 where gateways serve no TLS.",
				q("", "min(fanfare_tls_certificate_expiry_seconds{%s}) or vector(0)", selected)),
			series("Sockets of each gateway", "short", "Open ones.", each("fanfare_sessions")),
			series("Accepted and refused", "ops", "New sockets a second, and those turned away, by reason.",
				rate("accepted", "fanfare_sessions_accepted_total"), anyBy("reason", "fanfare_sessions_refused_total")),
			series("Closed", "ops", "Sockets ended a second, by reason. drain is a rollout; slow_* and pong_timeout are networks and readers.", by("reason", "fanfare_sessions_closed_total")),

			row("Messages"),
			heat("Stage $stage", "Time in the chosen stage of the fan-out.", "fanfare_stage_latency_seconds", selected+`, stage=~"$stage"`),
			heat("Broker acknowledgement", "From the publish of a stored publication to its acknowledgement, retries included.", "fanfare_broker_publish_ack_seconds", selected),
			series("Frames received", "ops", "By action.", by("action", "fanfare_frames_received_total")),
			series("Joins", "ops", "By outcome.", by("outcome", "fanfare_joins_total")),
			series("Inbound frames refused", "ops", "Over a rate limit, by which.", anyBy("reason", "fanfare_frames_dropped_total")),
			series("Publications in a batch", "short", "How many publications one flush carries: above 1 channels are hot and share their writes.",
				q("{{instance}}", "sum by (instance) (rate(fanfare_publications_total{%[1]s}[$__rate_interval])) / sum by (instance) (rate(fanfare_flushes_total{%[1]s}[$__rate_interval]))", selected)),
			series("Members of a publication", "short", "How many sockets of a gateway one publication goes to.",
				q("{{instance}}", "sum by (instance) (rate(fanfare_deliveries_total{%[1]s}[$__rate_interval])) / sum by (instance) (rate(fanfare_publications_total{%[1]s}[$__rate_interval]))", selected)),
			series("Largest backlog", "bytes", "The largest backlog of one socket since the last scrape (of whoever scrapes). The limit is limits.backlog_bytes.", each("fanfare_backlog_high_water_bytes")),
			series("Error frames", "ops", "By code. internal is ours.", by("code", "fanfare_errors_total")),
			series("Under way at the broker", "short", "Stored publications that are not acknowledged yet.", each("fanfare_broker_publish_in_flight")),
			series("Publications from the broker", "ops", "By kind. own: published here and delivered already; duplicate and late: dropped.", by("kind", "fanfare_broker_received_total")),

			row("Presence"),
			series("Members", "short", "Entries of the people on each gateway.", each("fanfare_presence_members")),
			series("Changes", "ops", "Changes of members of this gateway, and entries written to the bucket.",
				by("action", "fanfare_members_changed_total"), rate("written", "fanfare_presence_entries_written_total")),
			series("Entries to write", "short", "Entries that the bucket does not have yet as they should be.", each("fanfare_presence_pending_writes")),
			series("Gateways known", "short", "As each gateway sees the others, itself included.", q("{{instance}} {{state}}", "sum by (instance, state) (fanfare_presence_gateways{%s})", selected)),
			series("Leases", "ops", "Refreshes of the lease, those that failed, and leases lost. A lost one shows people as gone.",
				rate("renewed", "fanfare_presence_lease_renewals_total"), rate("failed", "fanfare_presence_lease_renewal_errors_total"), rate("lost", "fanfare_presence_lease_losses_total")),
			series("Time of presence", "s", "99th percentile of writing an entry and of reading the members of a channel.",
				q("write", "%s", quantile(0.99, "fanfare_presence_write_seconds", selected, "")), q("read", "%s", quantile(0.99, "fanfare_presence_snapshot_seconds", selected, ""))),

			row("History, webhooks, API"),
			series("Reading history", "s", "99th percentile of one request to the stream, by kind.",
				q("{{kind}}", "histogram_quantile(0.99, sum by (kind, le) (rate(fanfare_history_read_seconds_bucket{%s}[$__rate_interval])))", selected)),
			series("Resumes", "ops", "Clients that came back, by whether they were given everything they had missed.", by("whole", "fanfare_history_resumes_total")),
			series("Holes", "ops", "Noticed, by how; and checks of the newest publications.",
				by("found", "fanfare_broker_gaps_total"), rate("checks", "fanfare_broker_sweeps_total")),
			series("Webhooks", "ops", "Calls by action and outcome.", q("{{action}} {{outcome}}", "%s", perSecond("fanfare_trigger_total", selected, "action, outcome"))),
			series("Time of webhooks", "s", "99th percentile by action.", q("{{action}}", "%s", quantile(0.99, "fanfare_trigger_latency_seconds", selected, "action"))),
			series("HTTP API", "reqps", "Requests by route and status.", q("{{route}} {{status}}", "%s", perSecond("fanfare_api_requests_total", selected, "route, status"))),
			series("Time of the HTTP API", "s", "99th percentile by route. Long polls wait.",
				q("{{route}}", "histogram_quantile(0.99, sum by (route, le) (rate(fanfare_api_request_duration_seconds_bucket{%s}[$__rate_interval])))", selected)),
			series("Tokens", "ops", "Checked, by outcome.", by("outcome", "fanfare_auth_tokens_total")),
			series("Settings", "short", "Channel rules in force, and realtime servers whose newest settings were refused: that should be 0.",
				q("rules on {{instance}}", "fanfare_settings_rules{%s}", selected), q("refused on {{instance}}", "fanfare_settings_refused{%s}", selected)),

			row("Process"),
			series("CPU", "percentunit", "Cores used.", q("{{instance}}", "rate(process_cpu_seconds_total{%[1]s}[$__rate_interval]) and on (instance, job) fanfare_sessions{%[1]s}", selected)),
			series("Memory", "bytes", "Resident memory, and what of it is live heap.",
				q("{{instance}}", "process_resident_memory_bytes{%[1]s} and on (instance, job) fanfare_sessions{%[1]s}", selected),
				q("heap of {{instance}}", "go_memstats_heap_alloc_bytes{%[1]s} and on (instance, job) fanfare_sessions{%[1]s}", selected)),
			series("Memory per socket", "bytes", "Resident memory over sockets: dear while there are few.",
				q("{{instance}}", "process_resident_memory_bytes{%[1]s} / on (instance, job) (fanfare_sessions{%[1]s} > 0)", selected)),
			series("Goroutines", "short", "About one a socket.", q("{{instance}}", "go_goroutines{%[1]s} and on (instance, job) fanfare_sessions{%[1]s}", selected)),
			series("File descriptors", "percentunit", "Open ones, as part of what the process may.",
				q("{{instance}}", "process_open_fds{%[1]s} / process_max_fds{%[1]s} and on (instance, job) fanfare_sessions{%[1]s}", selected)).warnAbove(0.7, 0.85),
			series("Longest pause of the collector", "s", "Of the last collections.", q("{{instance}}", `go_gc_duration_seconds{quantile=~"1|1.0", %[1]s} and on (instance, job) fanfare_sessions{%[1]s}`, selected)),
		},
	}
}
