// Package e2e proves the guarantees of a whole cluster: three `fanfare broker` and three `fanfare serve` processes,
// with proxies on every link between them, under load, while processes are killed, stopped and ended and links are
// cut, delayed and black-holed.
//
// The Checker knows nothing of the server's code: it gets what clients saw (acknowledgements, deliveries, presence)
// and what history says at the end, and tells every contradiction. The Picture is a back end that keeps a set by the
// lifecycle events. Their own tests plant faults and see them found.
//
// Conditions decide. Where something is promised in seconds the limit is stretched by how much slower than at its
// best the machine was meanwhile (machine_test.go), at most four times. Crowds of clients run in processes of their
// own: this test binary, started again.
//
//	go test -run TestCluster ./internal/e2e            about four minutes
//	go test -short ./internal/e2e                      the checker alone
//	FANFARE_E2E_LONG=1 go test -timeout 1h ./internal/e2e -run 'TestCluster/(large|stampede|fenced)'
//	FANFARE_E2E_DURATION=20m go test -timeout 1h ./internal/e2e -run TestCluster/faults
//	FANFARE_E2E_SEED=42 go test ./internal/e2e         the same schedule of faults again
//
// FANFARE_E2E_LONG has 20 000 members in one channel and 5000 clients in a stampede, instead of 3000 and 1500, and a
// gateway that stands still for longer than its lease. A run prints its seed and its schedule. The schedule follows from
// the seed; what it hits at which instant does not.
package e2e
