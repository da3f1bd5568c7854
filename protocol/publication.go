package protocol

import (
	"time"
)

// ServerID numbers a realtime server (a "workspace" in Xano's words), from 1.
type ServerID int64

// SessionID names one socket. It begins with the NodeID of the gateway that holds it (see NodeOf), so that
// any gateway can find the socket; the rest is random and unguessable, because knowing it is what allows a
// private message.
type SessionID string

// NodeID names one run of a gateway process: eight URL-safe characters, new at every start.
type NodeID string

// NodeIDLen is the length of a NodeID in bytes.
const NodeIDLen = 8

// NodeOf gives the gateway that holds the session, or "" when the name cannot be one of ours.
func NodeOf(s SessionID) NodeID {
	if len(s) <= NodeIDLen {
		return ""
	}
	return NodeID(s[:NodeIDLen])
}

// Topic is what sessions subscribe to: a channel, or a pattern such as chat/*, of one realtime server.
type Topic struct {
	Server  ServerID
	Channel Channel
}

// Position is a place in a channel's stored history. The zero Position means "nothing stored".
type Position struct {
	// Epoch changes whenever offsets from before can no longer be compared with those from after.
	Epoch string
	// Offset grows within a channel. It is not contiguous; 0 means nothing.
	Offset uint64
}

// Kind tells what a publication is.
type Kind uint8

const (
	// KindMessage was sent by a client.
	KindMessage Kind = iota + 1
	// KindEvent was sent by a back end over HTTP.
	KindEvent
)

// AudienceKind tells who may receive a publication.
type AudienceKind uint8

const (
	// Everyone on the channel.
	Everyone AudienceKind = iota
	// Authenticated members only.
	Authenticated
	// User is all sockets of one user: Audience.DboID and Audience.RowID.
	User
	// Socket is one socket: Audience.Session.
	Socket
)

// Audience says who may receive a publication. The zero Audience is everyone.
type Audience struct {
	Kind    AudienceKind
	DboID   int64
	RowID   RowID
	Session SessionID
}

// Publication is one message or event on its way to sessions. Its Frame is encoded once, by the gateway that
// accepts it, and is never changed afterwards: gateways share it.
type Publication struct {
	Server   ServerID
	Channel  Channel // concrete, never a pattern
	Kind     Kind
	Audience Audience
	// Origin is the gateway that accepted the publication.
	Origin NodeID
	// Sender is the session that sent it; empty for events.
	Sender SessionID
	// Accepted is when the first gateway accepted it.
	Accepted time.Time
	// ID is unique; the same ID again within 30 s is stored once.
	ID string
	// Frame is the whole outgoing JSON object without offset. Frame[:Splice] ends right behind the value of
	// options.channel; that is where `,"offset":"…"` (and `,"source":…` for pattern subscribers) goes.
	Frame  []byte
	Splice int
	// Offset is 0 unless the publication was stored.
	Offset uint64
	// TTL is how long a stored publication is kept; 0 = no age limit.
	TTL time.Duration
}

// Receipt answers a publish.
type Receipt struct {
	// ID of the publication; that of the first one when Duplicate.
	ID string
	// Position of the stored publication; the zero Position when it was not stored.
	Position Position
	// Duplicate: the same ID had been stored before.
	Duplicate bool
}
