package gateway

import (
	"context"
	"encoding/json"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Broker carries publications between gateways. Implemented by broker.Broker.
type Broker interface {
	// Attach opens the node's interest in a topic and returns when it is live. It calls sink.Reset before the
	// first stored Deliver. stored: the topic has history, so publications come with offsets.
	Attach(ctx context.Context, t protocol.Topic, stored bool, sink Sink) (Feed, error)
	// Publish hands over a publication and never blocks; done is called exactly once, inline for unstored
	// ones. Stored publications of one lane keep their order.
	Publish(p *protocol.Publication, stored bool, lane protocol.SessionID, done func(protocol.Receipt, error))
}

// Feed is a node's interest in one topic.
type Feed interface {
	SetStored(ctx context.Context, stored bool) error
	// Delivered tells whether a stored publication was delivered already or stored before the feed began; if
	// not, it will be delivered.
	Delivered(p *protocol.Publication) bool
	Detach()
}

// Sink receives what a Feed brings. Stored publications come in the order of their offsets, from one goroutine
// at a time; unstored ones may come concurrently. The calls do not block.
type Sink interface {
	// Reset says where the topic's stored sequence stands: at the start, and when it was recreated.
	Reset(pos protocol.Position)
	Deliver(p *protocol.Publication)
	// Gap says that stored publications after from up to to are lost for this node.
	Gap(channel protocol.Channel, from, to uint64)
}

// History reads stored publications. Implemented over history.Store.
type History interface {
	// Read gives a page; allow, unless nil, tells which channels of a pattern belong to it.
	Read(ctx context.Context, t protocol.Topic, r Range, allow func(protocol.Channel) bool) (Page, error)
	// Resume gives everything after from up to upTo. whole is false when that cannot be proved, or when something of
	// it is older than maxAge; 0 = no age limit.
	Resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, max int, maxAge time.Duration) (pubs []*protocol.Publication, whole bool, err error)
}

// Range says which stored publications are wanted: at most Limit, oldest first. Before gives the nearest
// older ones, After the oldest newer ones, Since those from a moment on, none of them the latest ones.
type Range struct {
	Limit     int
	Before    uint64
	HasBefore bool // Before 0 counts as given: nothing is older
	After     uint64
	HasAfter  bool
	// UpTo leaves out what is newer than this offset; 0 = no bound.
	UpTo uint64
	// Window is how many the channel keeps: older ones are as if they were gone; 0 = all.
	Window int
	// NotBefore leaves out what was stored earlier.
	NotBefore time.Time
	// MaxAge leaves out what is older; 0 = no age limit.
	MaxAge time.Duration
	Since  time.Time
	// Authenticated: the reader may see authenticated-only publications.
	Authenticated bool
	// AimedApart: publications for one user or one socket come besides the Limit; who asks leaves out what is not
	// for its reader.
	AimedApart bool
}

// Page is an answer to a Range.
type Page struct {
	Publications []*protocol.Publication
	More         bool // there is more in the direction asked for
}

// Presence tells the other gateways who is here, and us who is there. Implemented by presence.Directory.
type Presence interface {
	// Put says that a session of ours is a member, or has a new entry. It only queues.
	Put(t protocol.Topic, s protocol.SessionID, entry []byte)
	// Delete says that a session of ours is no member any more. It only queues.
	Delete(t protocol.Topic, s protocol.SessionID)
	// Watch reports the members of the other gateways: first those that are there, before it returns.
	Watch(ctx context.Context, t protocol.Topic, sink PresenceSink) (stop func(), err error)
}

// PresenceSink receives changes of remote members.
type PresenceSink interface {
	Changed(changes []PresenceChange)
}

// PresenceChange is one remote member's coming, change or going.
type PresenceChange struct {
	Action  protocol.PresenceAction
	Channel protocol.Channel // concrete
	Session protocol.SessionID
	Entry   []byte // the client object; empty for a leave
}

// Authenticator turns a token into an identity. Implemented by auth.Verifier.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (protocol.Identity, error)
}

// Triggers asks the back end. Implemented over trigger.Caller.
type Triggers interface {
	// Join asks whether a client may join; nil admits.
	Join(ctx context.Context, triggers []policy.Trigger, in TriggerInput) *protocol.Error
	// Message gives the payload to send instead, or the error that blocks the message.
	Message(ctx context.Context, triggers []policy.Trigger, in TriggerInput) (json.RawMessage, *protocol.Error)
}

// TriggerInput is what a back end is told.
type TriggerInput struct {
	Server        protocol.ServerID
	Channel       protocol.Channel
	Session       protocol.SessionID
	Identity      *protocol.Identity
	Authenticated bool               // options.authenticated as sent
	Recipient     protocol.SessionID // options.socketId as sent
	Payload       json.RawMessage
}

// Peers reaches sessions on other gateways.
type Peers interface {
	// Private hands a private message to the gateway that holds its recipient.
	Private(ctx context.Context, p *protocol.Publication, authenticatedOnly bool) *protocol.Error
}

// Lifecycle records for back ends who comes and goes. The calls only queue; nil = nobody wants to know. Those for one
// session come in its order. Subscribers of patterns are no members and not recorded.
type Lifecycle interface {
	Connected(server protocol.ServerID, s protocol.SessionID, id *protocol.Identity)
	Disconnected(server protocol.ServerID, s protocol.SessionID, why LeaveReason)
	// Joined is called again when a member's identity has changed.
	Joined(t protocol.Topic, s protocol.SessionID, id *protocol.Identity)
	Left(t protocol.Topic, s protocol.SessionID, why LeaveReason)
}

// LeaveReason is why a member left or a socket ended.
type LeaveReason string

// The reasons that a gateway can know.
const (
	LeaveLeft         LeaveReason = "left"
	LeaveClosed       LeaveReason = "closed"
	LeaveTimeout      LeaveReason = "timeout"
	LeaveEvicted      LeaveReason = "evicted"
	LeaveDisconnected LeaveReason = "disconnected"
)

// Settings gives the rules in force. Implemented by settings.Store.
type Settings interface {
	Current() *policy.Book
}
