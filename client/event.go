package client

import (
	"encoding/json"
	"fmt"

	"fanfare/protocol"
)

// Position is a place in a channel's history; keep Channel.Position to resume after a restart of the program.
type Position = protocol.Position

// Event is what a channel tells the application: *Message, *History, *PresenceList, *PresenceChange, *Joined,
// *Disconnected, *Gap or *Failure.
type Event interface{ isEvent() }

// Message is one publication: a client's message or a back end's event.
type Message struct {
	// Channel it was sent to: the channel's own name, or one below it for a pattern.
	Channel string
	Kind    protocol.Kind
	// ID is unique; empty when the server gives none.
	ID string
	// Offset is 0 unless the message is stored.
	Offset uint64
	// Authenticated: only authenticated members got it.
	Authenticated bool
	// To is the receiving socket of a private message.
	To string
	// Sender is nil for events.
	Sender *Member
	// DboID and RowID are the user an event is aimed at; zero = everybody.
	DboID int64
	RowID protocol.RowID
	// Data is the payload of a message, the data of an event: any JSON value.
	Data json.RawMessage
	// Frame is the whole frame as it came.
	Frame json.RawMessage
}

// Decode reads the data into v.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	return nil
}

// History holds the latest stored messages, oldest first, as asked for by ChannelOptions.History or sent by
// the server after a resume that was not whole. They may repeat what was received before; see Message.ID.
type History struct{ Messages []*Message }

// Member is one presence entry.
type Member struct {
	Socket string
	DboID  int64
	RowID  protocol.RowID
	// Extras come from the member's token: a JSON object.
	Extras json.RawMessage
	// Data is what the member told about itself; nil = nothing.
	Data json.RawMessage
	// Source is the channel of the entry when a pattern is joined.
	Source string
}

// PresenceList is everybody on the channel, at each join.
type PresenceList struct{ Members []Member }

// PresenceChange is one member that joined, left or changed its data.
type PresenceChange struct {
	Action protocol.PresenceAction
	Member Member
}

// Joined tells that the channel was joined: at first, and after each reconnection.
type Joined struct {
	// Self is the client's own entry on the server.
	Self  Member
	First bool
	// Resumed: nothing stored is missing between the events before and behind this one.
	Resumed bool
}

// Disconnected tells that the connection was lost; the client is dialling again.
type Disconnected struct{ Err error }

// Gap stands where messages may be missing.
type Gap struct{ Reason GapReason }

// GapReason is why a hole cannot be excluded.
type GapReason string

// The reasons.
const (
	// GapNotResumed: the server cannot prove that nothing was missed.
	GapNotResumed GapReason = "not_resumed"
	// GapReconnected: the connection was lost, and the channel has no history to resume from.
	GapReconnected GapReason = "reconnected"
	// GapSlow: the application was too slow, and the channel has no history to repeat from.
	GapSlow GapReason = "slow"
	// GapServer: the server lost messages itself, and the channel has no history.
	GapServer GapReason = "server"
)

// Failure is an error of the channel or the connection that answers no call of the application.
type Failure struct{ Err *protocol.Error }

func (*Message) isEvent()        {}
func (*History) isEvent()        {}
func (*PresenceList) isEvent()   {}
func (*PresenceChange) isEvent() {}
func (*Joined) isEvent()         {}
func (*Disconnected) isEvent()   {}
func (*Gap) isEvent()            {}
func (*Failure) isEvent()        {}
