// Package presence knows who is on which channel, on all gateways.
package presence
