package api

import (
	"context"
	"encoding/json"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Settings is the store of realtime servers. Its errors are policy.ErrNotFound, ErrConflict, ErrReadOnly and
// *policy.FieldError; anything else means that the store cannot be reached.
type Settings interface {
	// Current gives the settings in force.
	Current() *policy.Book
	// ReadOnly tells whether the settings come from a file.
	ReadOnly() bool
	// Create adds a server under a new number; a missing hash and missing rule ids are made up.
	Create(ctx context.Context, s policy.Server) (*policy.Server, error)
	// Update reads a server, lets change alter it and stores it. With expected, a revision, it is ErrConflict when
	// somebody else was there first; with 0 change is called again with the newer settings.
	Update(ctx context.Context, id protocol.ServerID, expected uint64, change func(*policy.Server) error) (*policy.Server, error)
	// Delete removes a server; expected as in Update.
	Delete(ctx context.Context, id protocol.ServerID, expected uint64) error
}

// Backend is what the server API needs from the rest of the node. All methods are called from many goroutines,
// with a context that ends when the client goes away or the request's time is up. They may return *protocol.Error
// (its code decides the status, see errors.go) and the sentinels of errors.go; any other error is answered as
// `internal` and logged.
//
// The server of a query is enabled, and every channel in it is covered by a rule of it; the API has checked.
type Backend interface {
	// Publish delivers an event. The receipt carries a Position when the event was stored.
	//
	// ErrOffsetConflict: Event.ExpectOffset is not the channel's newest offset. ErrRecipientNotFound may be returned
	// for a Socket audience whose session is known not to exist.
	Publish(ctx context.Context, e Event) (protocol.Receipt, error)
	// PublishBatch delivers events in their order and answers every one, in the same order; the slice is as long as
	// events. The error is for the batch as a whole.
	//
	// With atomic all are stored or none: then the error says why nothing was stored (*BatchError names the event,
	// ErrAtomicLimit or ErrAtomicUnsupported the reason), and when it is nil no result has an error.
	PublishBatch(ctx context.Context, events []Event, atomic bool) ([]Result, error)
	// Channels lists channels with members anywhere, by name, after a name. This and what follows: ErrUnavailable.
	Channels(ctx context.Context, q ChannelsQuery) (ChannelsPage, error)
	// Presence lists the members of a channel, or of a pattern.
	Presence(ctx context.Context, q PresenceQuery) (PresencePage, error)
	// History reads stored publications of a channel, or of a pattern.
	History(ctx context.Context, q HistoryQuery) (HistoryPage, error)
	// Connections lists sockets that are open or ended not long ago, on all gateways that answer.
	Connections(ctx context.Context, q ConnectionsQuery) (ConnectionsPage, error)
	// Disconnect ends sockets with protocol.CloseGoAway, wherever they are, and tells how many.
	Disconnect(ctx context.Context, q DisconnectQuery) (int, error)
}

// Event is something a back end publishes.
type Event struct {
	Server *policy.Server
	// Rule is the rule that covers Channel.
	Rule    *policy.Rule
	Channel protocol.Channel
	// Data is compact, valid JSON within the limits.
	Data json.RawMessage
	// Audience is Everyone, User or Socket.
	Audience protocol.Audience
	// ID is the caller's, or empty: then the backend makes one. The same ID on the same channel within 30 s is stored
	// and delivered once; the receipt then says Duplicate and repeats the first one's ID and position.
	ID string
	// Store keeps the event in the channel's history. It is set whenever ID, ExpectOffset or atomic ask for it; the
	// rule then has history.
	Store bool
	// ExpectOffset is the offset that the channel's newest stored publication must have; 0 = nothing is stored. nil =
	// any.
	ExpectOffset *uint64
	// Accepted is when the API got the event.
	Accepted time.Time
}

// Result answers one event of a batch.
type Result struct {
	Receipt protocol.Receipt
	Err     error // as from Backend.Publish
}

// ChannelsQuery asks for channels. Either Names is set and they are all answered, in their order, also when nobody
// is there; or a page of those that begin with Prefix.
type ChannelsQuery struct {
	Server *policy.Server
	Names  []protocol.Channel
	Prefix string
	// After is the name that the page begins behind; empty = from the start.
	After protocol.Channel
	// Limit is how many at most, from 1.
	Limit int
}

// ChannelState is a channel and how many members it has.
type ChannelState struct {
	Channel   protocol.Channel `json:"channel"`
	Occupancy int              `json:"occupancy"`
}

// ChannelsPage answers a ChannelsQuery.
type ChannelsPage struct {
	Items []ChannelState
	// More: there are channels behind the last item.
	More bool
}

// PresenceQuery asks for members, in the order of their sessions.
type PresenceQuery struct {
	Server  *policy.Server
	Rule    *policy.Rule
	Channel protocol.Channel // may be a pattern
	// After is the cursor of the page before; empty = from the start.
	After string
	Limit int
}

// PresencePage answers a PresenceQuery.
type PresencePage struct {
	// Items are presence entries as they stand on the wire: socketId, extras, permissions and, where there is any,
	// data; with source when a pattern was asked for.
	Items []json.RawMessage
	// Next is the cursor of the next page; empty = there is none. It is opaque to the API and may hold any text.
	Next string
}

// HistoryQuery asks for stored publications. Before comes alone; After and Since must both hold; with none of them the
// newest are meant. See design.md 3, "History paging".
type HistoryQuery struct {
	Server  *policy.Server
	Rule    *policy.Rule
	Channel protocol.Channel // may be a pattern
	Limit   int
	// Before and After are offsets; nil = not asked.
	Before, After *uint64
	// Since is zero when not asked.
	Since time.Time
}

// HistoryPage answers a HistoryQuery.
type HistoryPage struct {
	// Frames are whole frames with options.id and options.offset (and options.source for a pattern), oldest first.
	// The API answers those for every audience: a back end may read what its users may.
	Frames []json.RawMessage
	// Times are when each of them was accepted by its gateway.
	Times []time.Time
	// More: there is more in the direction asked for.
	More bool
}

// ConnectionsQuery asks for sockets, in the order of their names. Everything that is set must hold.
type ConnectionsQuery struct {
	Server  *policy.Server
	Session protocol.SessionID
	// User: those of DboID and RowID.
	User    bool
	DboID   int64
	RowID   protocol.RowID
	Channel protocol.Channel // those that are on it, or were
	// After is the socket that the page begins behind; empty = from the start.
	After protocol.SessionID
	Limit int
}

// ConnectionsPage answers a ConnectionsQuery.
type ConnectionsPage struct {
	// Items are connections as the description has them.
	Items []json.RawMessage
	// Next is the socket that the next page begins behind; empty = there is none.
	Next protocol.SessionID
	// Unanswered are gateways that did not say anything in time.
	Unanswered []protocol.NodeID
}

// DisconnectQuery names sockets: those of a user, or one.
type DisconnectQuery struct {
	Server  *policy.Server
	Session protocol.SessionID // or
	DboID   int64
	RowID   protocol.RowID
}

// Lifecycle is the record of joins, leaves, occupied and vacated channels, connects and disconnects.
type Lifecycle interface {
	// Read gives the events behind a cursor, oldest first, at most limit. An empty cursor means from the oldest kept
	// event. With none there it answers an empty page with Next = after: at once, or with wait when ctx ends and still
	// none has come.
	//
	// ErrCursorExpired: events behind the cursor are no longer kept. ErrCursor: it is none of ours.
	Read(ctx context.Context, server *policy.Server, after string, limit int, wait bool) (LifecyclePage, error)
}

// LifecyclePage answers Lifecycle.Read.
type LifecyclePage struct {
	Items []LifecycleEvent
	// Next is the cursor behind the last item.
	Next string
}

// LifecycleEvent is one change.
type LifecycleEvent struct {
	// Cursor is where this event stands; reading after it goes on behind it.
	Cursor string        `json:"cursor"`
	Type   LifecycleType `json:"type"`
	Time   time.Time     `json:"time"`
	// Channel is empty for connects and disconnects.
	Channel protocol.Channel `json:"channel,omitempty"`
	// Client is the client object; null for occupied and vacated.
	Client json.RawMessage `json:"client,omitempty"`
	// Reason of a leave or disconnect: left, closed, timeout, gateway_lost, evicted, disconnected.
	Reason string `json:"reason,omitempty"`
	// Repeated: nothing new, told again for those who began to read in between.
	Repeated bool `json:"repeated,omitempty"`
	// Gateway of a lost event: the members and sockets whose id begins with it are to be forgotten. Those that are
	// there follow.
	Gateway protocol.NodeID `json:"gateway,omitempty"`
}

// LifecycleType is what happened.
type LifecycleType string

// The types of lifecycle events.
const (
	LifecycleConnect    LifecycleType = "connect"
	LifecycleDisconnect LifecycleType = "disconnect"
	LifecycleJoin       LifecycleType = "join"
	LifecycleLeave      LifecycleType = "leave"
	LifecycleOccupied   LifecycleType = "occupied"
	LifecycleVacated    LifecycleType = "vacated"
	LifecycleLost       LifecycleType = "lost"
)
