package broker

import "errors"

// Errors a caller may look for. Publishing also answers with protocol.ErrUnavailable, ErrUnknownOutcome and
// ErrOverloaded.
var (
	// ErrOffset: the channel's newest stored offset is not the expected one.
	ErrOffset = errors.New("newest offset is not the expected one")
	// ErrRefused: the broker refused a publication for good.
	ErrRefused = errors.New("publication refused by the broker")
	// ErrNoGateway: the gateway asked does not exist (any more).
	ErrNoGateway = errors.New("no such gateway")
	// ErrPeer: the gateway asked answered with an error.
	ErrPeer = errors.New("gateway answered with an error")
	// ErrAttached: the topic has a feed already.
	ErrAttached = errors.New("topic is attached already")
	// ErrDetached: the feed has been detached.
	ErrDetached = errors.New("feed is detached")
)
