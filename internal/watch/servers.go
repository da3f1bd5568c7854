package watch

// serversBoard tells realtime servers apart. A server is a label of few metrics: their number is bounded, that of
// channels and people is not.
func serversBoard() dashboard {
	const one = selected + `, server=~"$server"`
	rate := func(metric string) query {
		return q("server {{server}}", "sum by (server) (rate(fanfare_server_%s{%s}[$__rate_interval]))", metric, one)
	}
	return dashboard{
		name: "servers", title: "Fanfare / Realtime servers", anchor: "fanfare_server_sessions",
		description: "What each realtime server (workspace) has and causes. Channels and people are in the console.",
		variables: []variable{{
			"server", "Realtime server", `label_values(fanfare_server_sessions{namespace=~"$namespace", job=~"$job"}, server)`,
			"By the number it has in the console and the API.",
		}},
		panels: []panel{
			row("Realtime servers"),
			stat("Servers in force", "short", "As the settings have them, disabled ones included.", q("", "max(fanfare_settings_servers{%s})", selected)),
			stat("Channel rules", "short", "Of all servers.", q("", "max(fanfare_settings_rules{%s})", selected)),
			stat("Servers with sockets", "short", "Of those chosen.", q("", "count(sum by (server) (fanfare_server_sessions{%s}) > 0)", one)),
			stat("Settings refused", "short", "Servers whose newest settings cannot be used. It should be 0.", q("", "max(fanfare_settings_refused{%s})", selected)).warnAbove(0.5, 1),
			stat("Last change of settings", "s", "How long the settings in force have been so.", q("", "time() - max(fanfare_settings_last_change_timestamp_seconds{%s} > 0)", selected)),
			stat("Writes that lost a race", "short", "Two people changed the same server, over the time shown.", q("", "sum(increase(fanfare_settings_conflicts_total{%s}[$__range]))", selected)),
			series("Sockets", "short", "Open ones.", q("server {{server}}", "sum by (server) (fanfare_server_sessions{%s})", one)).wide().stack(),
			series("Messages fanned out", "ops", "Publications a second; one that has members on three gateways counts three times.", rate("publications_total")).wide(),
			series("Deliveries", "ops", "Publications times members.", rate("deliveries_total")),
			series("Bytes sent", "Bps", "In batches to members.", rate("sent_bytes_total")),
			series("Frames received", "ops", "From clients: joins, messages, requests.", rate("frames_received_total")),
			series("Members of a publication", "short", "How wide its channels are, on one gateway.",
				q("server {{server}}", "sum by (server) (rate(fanfare_server_deliveries_total{%[1]s}[$__rate_interval])) / sum by (server) (rate(fanfare_server_publications_total{%[1]s}[$__rate_interval]))", one)),
			series("Frames a socket", "ops", "Received from each socket a second: who is chatty.",
				q("server {{server}}", "sum by (server) (rate(fanfare_server_frames_received_total{%[1]s}[$__rate_interval])) / (sum by (server) (fanfare_server_sessions{%[1]s}) > 0)", one)),
			series("Spread over gateways", "short", "Sockets of the chosen servers on each gateway.", q("{{instance}}", "sum by (instance) (fanfare_server_sessions{%s})", one)).stack(),
		},
	}
}
