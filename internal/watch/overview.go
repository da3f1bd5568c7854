package watch

// dashboards are all that deploy/grafana holds.
func dashboards() []dashboard {
	return []dashboard{overview(), gatewayBoard(), brokerBoard(), serversBoard()}
}

// overview answers whether people get their messages, and in time; everything else is there to say where to look next.
func overview() dashboard {
	const fanout = "fanfare_fanout_latency_seconds"
	return dashboard{
		name: "overview", title: "Fanfare / Overview", anchor: "fanfare_sessions",
		description: "Do messages arrive, and in time? Objectives first, then what they depend on.",
		panels: []panel{
			row("Objectives"),
			stat("Fan-out within 100 ms", "percentunit", "Part of the publications that were written to the last socket within 100 ms of being accepted, over the time shown. The objective is 99 %.",
				q("", `sum(rate(%[1]s_bucket{le="0.1", %[2]s}[$__range])) / sum(rate(%[1]s_count{%[2]s}[$__range])) or histogram_fraction(0, 0.1, sum(rate(%[1]s{%[2]s}[$__range])))`, fanout, selected)).warnBelow(0.995, 0.99),
			stat("Publications taken", "percentunit", "Part of the publications that the broker took, over the time shown. The objective is 99.9 %. Senders are told of every other one.",
				q("", `1 - (sum(rate(fanfare_broker_publications_total{result=~"unavailable|unknown|overloaded", %[1]s}[$__range])) or vector(0)) / sum(rate(fanfare_broker_publications_total{%[1]s}[$__range]))`, selected)).warnBelow(0.9995, 0.999),
			stat("Holes not repaired", "short", "Holes in channels with history that could not be filled, over the time shown. Clients were told. It should be 0.",
				q("", `sum(increase(fanfare_broker_gaps_unrepaired_total{%s}[$__range]))`, selected)).warnAbove(0.5, 1),
			stat("Sockets", "short", "Open sockets now.", q("", `sum(fanfare_sessions{%s})`, selected)),
			stat("Gateways ready", "short", "Gateways that answer 200 on /readyz.", q("", `sum(fanfare_ready{%[1]s} and fanfare_sessions{%[1]s})`, selected)).warnBelow(2, 1),
			stat("Alerts firing", "short", "Of the rules in deploy/prometheus, here and in the brokers.", q("", `count(ALERTS{alertname=~"Fanfare.*", alertstate="firing", namespace=~"$namespace"}) or vector(0)`)).warnAbove(1, 3),
			heat("Fan-out latency", "Accepted by the first gateway until written to the last socket of each gateway, once per publication. Points are sampled messages; with tracing on they lead to their trace.", fanout, selected),
			series("Fan-out latency percentiles", "s", "The same in numbers. The dashed line is the objective: 99 % within 100 ms.", quantiles(fanout, selected)...).wide().tall().warnAbove(0.1, 0.5),
			series("Stages, 99th percentile", "s", "Where the time goes: accept (frame read until handed over), trigger (asking the back end), store (until the stream has it), transit (to the batch of the last gateway), queue (until the flush), write (to the last member).",
				q("{{stage}}", "%s", quantile(0.99, "fanfare_stage_latency_seconds", selected, "stage"))),
			series("Burn of the fan-out budget", "short", "How many times faster than sustainable the error budget of 30 days is used up. 14.4 over an hour is a page; 1 is exactly used up.",
				q("1 h", `fanfare:fanout_slow:ratio_rate1h{namespace=~"$namespace", job=~"$job"} / 0.01`),
				q("6 h", `fanfare:fanout_slow:ratio_rate6h{namespace=~"$namespace", job=~"$job"} / 0.01`)).warnAbove(6, 14.4),
			series("Burn of the publish budget", "short", "The same for publications that the broker did not take.",
				q("1 h", `fanfare:publish_failed:ratio_rate1h{namespace=~"$namespace", job=~"$job"} / 0.001`),
				q("6 h", `fanfare:publish_failed:ratio_rate6h{namespace=~"$namespace", job=~"$job"} / 0.001`)).warnAbove(6, 14.4),

			row("Delivery"),
			series("Holes", "ops", "Noticed in what the broker sent, repaired from the stream, and not repaired.",
				q("noticed", `sum(rate(fanfare_broker_gaps_total{%s}[$__rate_interval]))`, selected),
				q("repaired", `sum(rate(fanfare_broker_gaps_repaired_total{%s}[$__rate_interval]))`, selected),
				q("not repaired", `sum(rate(fanfare_broker_gaps_unrepaired_total{%s}[$__rate_interval]))`, selected)),
			series("Drops and evictions", "ops", "Messages lost between gateway and broker, and sockets closed because their readers were too slow, by reason.",
				q("dropped: {{reason}}", "%s", perSecond("fanfare_broker_dropped_total", selected, "reason")),
				q("evicted: {{reason}}", "%s", perSecond("fanfare_evictions_total", selected, "reason"))),
			series("Publications not taken", "ops", "By result. conflict and refused are mistakes of senders; unavailable, unknown and overloaded count against the objective.",
				q("{{result}}", `sum by (result) (rate(fanfare_broker_publications_total{result!~"ok|duplicate", %s}[$__rate_interval]))`, selected)),

			row("Traffic"),
			series("Sockets", "short", "Open sockets of each gateway.", q("{{instance}}", `sum by (instance) (fanfare_sessions{%s})`, selected)).stack(),
			series("Sockets come and gone", "ops", "Accepted, refused and closed a second.",
				q("accepted", `sum(rate(fanfare_sessions_accepted_total{%s}[$__rate_interval]))`, selected),
				whenAny("refused", `sum(rate(fanfare_sessions_refused_total{%s}[$__rate_interval]))`, selected),
				q("closed: {{reason}}", "%s", perSecond("fanfare_sessions_closed_total", selected, "reason"))),
			series("Messages", "ops", "Publications fanned out, and their copies to members.",
				q("{{kind}}s", "%s", perSecond("fanfare_publications_total", selected, "kind")),
				q("deliveries", `sum(rate(fanfare_deliveries_total{%s}[$__rate_interval]))`, selected)),
			series("Bytes", "Bps", "Of frames received and of batches sent.",
				q("received", `sum(rate(fanfare_received_bytes_total{%s}[$__rate_interval]))`, selected),
				q("sent", `sum(rate(fanfare_sent_bytes_total{%s}[$__rate_interval]))`, selected)),
			series("Errors told to clients", "ops", "Error frames by code. internal is ours; the others are limits, permissions and mistakes.",
				q("{{code}}", "%s", perSecond("fanfare_errors_total", selected, "code"))),
			series("Presence", "short", "Entries of people that the gateways hold, and changes a second.",
				q("entries", `sum(fanfare_presence_members{%s})`, selected),
				q("changes/s", `sum(rate(fanfare_presence_entries_written_total{%s}[$__rate_interval]))`, selected)),

			row("Processes"),
			series("CPU", "percentunit", "Cores used by each gateway.", q("{{instance}}", `rate(process_cpu_seconds_total{%[1]s}[$__rate_interval]) and on (instance, job) fanfare_sessions{%[1]s}`, selected)),
			series("Memory", "bytes", "Resident memory of each gateway.", q("{{instance}}", `process_resident_memory_bytes{%[1]s} and on (instance, job) fanfare_sessions{%[1]s}`, selected)),
			series("Connected to the broker", "short", "1 while all connections of a gateway to its broker are up.", q("{{instance}}", `fanfare_broker_connected{%s}`, selected)).upToOne(),
			{
				kind: kindTable, title: "Builds", unit: "short", width: 24, height: 6, description: "Which build runs where.",
				queries: []query{{expr: `fanfare_build_info{namespace=~"$namespace"}`, legend: "{{instance}}", table: true}},
			},
		},
	}
}
