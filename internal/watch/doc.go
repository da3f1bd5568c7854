// Package watch makes the Grafana dashboards in deploy/grafana, and its tests hold dashboards, rules and alerts to
// what the programs really tell: every metric and label they name is listed in docs/metrics.md, every alert has its
// page, and every expression gives sensible numbers on a real Prometheus that scraped a loaded cluster.
//
// The dashboards are written anew by `go test ./internal/watch -run TestDashboardsAreCurrent -update`.
package watch
