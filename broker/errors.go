package broker

import "errors"

// Errors a caller may look for. Publishing also answers with protocol.ErrUnavailable, ErrUnknownOutcome and
// ErrOverloaded.
var (
	// ErrOffset: the channel's newest stored offset is not the expected one.
	ErrOffset = errors.New("newest offset is not the expected one")
	// ErrRefused: the broker refused a publication for good.
	ErrRefused = errors.New("publication refused by the broker")
	// ErrSpread: the channels of a batch do not live in one shard.
	ErrSpread = errors.New("channels live in different shards")
	// ErrBatchLimit: more publications than the broker takes in one batch.
	ErrBatchLimit = errors.New("too many publications for one batch")
	// ErrUsed: a publication with this ID was stored before, and others of its batch were not.
	ErrUsed = errors.New("this id was stored before")
	// ErrOrder: an offset is expected of a channel to which the same batch has written before.
	ErrOrder = errors.New("an offset can be expected of a channel's first publication in a batch only")
	// ErrNoGateway: the gateway asked does not exist (any more).
	ErrNoGateway = errors.New("no such gateway")
	// ErrPeer: the gateway asked answered with an error.
	ErrPeer = errors.New("gateway answered with an error")
	// ErrAttached: the topic has a feed already.
	ErrAttached = errors.New("topic is attached already")
	// ErrDetached: the feed has been detached.
	ErrDetached = errors.New("feed is detached")
)
