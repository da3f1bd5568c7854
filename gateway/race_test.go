//go:build race

package gateway

// stackOfReader is what a waiting reader's stack may take: the race detector makes frames larger.
const stackOfReader = 8 << 10
