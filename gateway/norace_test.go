//go:build !race

package gateway

// stackOfReader is what a waiting reader's stack may take: 2 KiB, and a few that had to grow.
const stackOfReader = 2600
