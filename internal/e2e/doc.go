// Package e2e proves the guarantees of a whole cluster: three `fanfare broker` and three `fanfare serve` processes,
// with proxies on every link between them, under load, while processes are killed, stopped and ended and links are
// cut, delayed and black-holed.
//
// The Checker knows nothing of the server's code: it gets what clients saw (acknowledgements, deliveries, presence)
// and what history says at the end, and tells every contradiction. Its own tests plant faults and see it find them.
//
//	go test ./internal/e2e                             about four minutes
//	go test -short ./internal/e2e                      the checker alone
//	FANFARE_E2E_DURATION=20m go test -timeout 1h ./internal/e2e -run TestCluster/faults
//	FANFARE_E2E_SEED=42 go test ./internal/e2e         the same schedule of faults again
//
// A run prints its seed and its schedule. The schedule follows from the seed; what it hits at which instant does not.
package e2e
