package presence

import (
	"time"

	"fanfare/protocol"
)

// ChangeKind tells what happened to a member.
type ChangeKind uint8

// Kinds of change.
const (
	Join ChangeKind = iota + 1
	Update
	Leave
)

// String names the kind.
func (k ChangeKind) String() string {
	switch k {
	case Join:
		return "join"
	case Update:
		return "update"
	case Leave:
		return "leave"
	}
	return "unknown"
}

// Change is one transition of a member of another gateway.
type Change struct {
	Kind    ChangeKind
	Channel protocol.Channel // concrete, never a pattern
	Session protocol.SessionID
	// Value is the entry (with Leave: the last one). It is shared and must not be changed.
	Value []byte
}

// Sink takes the changes of one Watch, in order: a member is joined once, updated any number of times while it
// is there, and left once. Changed is called from the directory's only apply goroutine: it must not block and
// must not call Watch or Snapshot, nor wait for a lock that is held around such a call. The slice may not be kept, the values may.
type Sink interface {
	Changed(changes []Change)
}

// State of a gateway as this one sees it.
type State uint8

// States of a gateway.
const (
	// Alive: heartbeats come.
	Alive State = iota + 1
	// Suspect: silent, being asked.
	Suspect
	// Hidden: silent and unreachable; its members are not shown. It may come back.
	Hidden
	// Going: it is draining.
	Going
)

// String names the state.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Hidden:
		return "hidden"
	case Going:
		return "going"
	}
	return "unknown"
}

// NodeInfo is one gateway.
type NodeInfo struct {
	ID      protocol.NodeID
	Addr    string
	Started time.Time
	State   State
}

// Member is one entry in a Snapshot.
type Member struct {
	Channel protocol.Channel
	Session protocol.SessionID
	Value   []byte
}

// Page is a part of a Snapshot. Next is the cursor for the rest, empty at the end.
type Page struct {
	Members []Member
	Next    string
}
