// Package broker connects a gateway to NATS.
package broker
