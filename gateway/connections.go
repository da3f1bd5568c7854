package gateway

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"fanfare/protocol"
)

// Connection is what is known about one socket, open or closed not long ago, for people who ask why somebody did
// not get a message. It is put together when it is asked for; fan-out keeps no books for it.
type Connection struct {
	Session       protocol.SessionID `json:"socketId"`
	Gateway       protocol.NodeID    `json:"gateway"`
	State         string             `json:"state"` // open, closing or closed
	Authenticated bool               `json:"authenticated"`
	Permissions   Permissions        `json:"permissions"`
	Connected     time.Time          `json:"connected"`
	// Heard is the last sign of life of the peer, of an open socket.
	Heard *time.Time `json:"heard,omitempty"`
	// BacklogBytes is what the kernel has not taken yet, or had not when the socket ended.
	BacklogBytes int `json:"backlog_bytes"`
	// Channels it is on, or was on when it ended, at most maxMemberships of ChannelsTotal.
	Channels      []Membership `json:"channels"`
	ChannelsTotal int          `json:"channels_total"`
	// Left are the newest few that it left or was removed from before, the oldest first.
	Left []Membership `json:"left"`

	Closed *time.Time `json:"closed,omitempty"`
	// Code is what it was closed with; 0 = without a close frame, which the client sees as 1006.
	Code   protocol.CloseCode `json:"code,omitempty"`
	Reason string             `json:"reason,omitempty"`
}

// Permissions are the user's keys, as in a client object.
type Permissions struct {
	DboID int64          `json:"dbo_id"`
	RowID protocol.RowID `json:"row_id"`
}

// Membership is one socket on one channel.
type Membership struct {
	Channel protocol.Channel `json:"channel"`
	Joined  time.Time        `json:"joined"`
	// Stored: the channel has history, so the offsets below mean something.
	Stored bool `json:"stored"`
	// JoinedOffset is the channel's end when it joined: what is newer came to it live.
	JoinedOffset uint64 `json:"joined_offset,string"`
	// Offset is how far the channel's live frames were handed to the socket: to the kernel, or to the backlog.
	Offset uint64 `json:"offset,string"`
	// CatchingUp: history and what was missed are being sent, live frames wait behind them.
	CatchingUp bool `json:"catching_up,omitempty"`
	Presence   bool `json:"presence"`
	// Left and Why, `left` or an error's code, of one that was left.
	Left *time.Time `json:"left,omitempty"`
	Why  string     `json:"why,omitempty"`
}

// Bounds of what is kept and answered.
const (
	maxMemberships = 128 // of an open socket
	maxPast        = 16  // of one that has ended
	maxLeft        = 8
)

// ConnectionsQuery says which sockets. Everything that is set must hold.
type ConnectionsQuery struct {
	Server  protocol.ServerID  `json:"server"`
	Session protocol.SessionID `json:"session,omitempty"`
	// User asks for the sockets of DboID and RowID.
	User  bool           `json:"user,omitempty"`
	DboID int64          `json:"dbo_id,omitempty"`
	RowID protocol.RowID `json:"row_id,omitempty"`
	// Channel: those that are on it, or were.
	Channel protocol.Channel `json:"channel,omitempty"`
	// After leaves out sockets up to this one; pages are in the order of the sockets' names.
	After protocol.SessionID `json:"after,omitempty"`
	Limit int                `json:"limit"`
}

// asks tells whether the query is about somebody.
func (q *ConnectionsQuery) asks(server protocol.ServerID, id protocol.SessionID, who *protocol.Identity) bool {
	return server == q.Server && id > q.After && (q.Session == "" || q.Session == id) && (!q.User || who.Same(q.DboID, q.RowID))
}

func on(channel protocol.Channel, lists ...[]Membership) bool {
	for _, list := range lists {
		for i := range list {
			if list[i].Channel == channel {
				return true
			}
		}
	}
	return channel == ""
}

// Connections gives the sockets of this node that are open or ended not long ago, by name. more: there are others
// behind them.
func (g *Gateway) Connections(q ConnectionsQuery) (page []Connection, more bool) {
	open := g.Sessions(func(s *Session) bool { return !s.turnedAway && q.asks(s.server, s.id, s.Identity()) })
	ended := g.recent.find(&q)
	slices.SortFunc(open, func(x, y *Session) int { return cmp.Compare(x.id, y.id) })
	for len(open)+len(ended) > 0 {
		var c Connection
		if len(open) == 0 || len(ended) > 0 && ended[0].session <= open[0].id {
			if len(open) > 0 && ended[0].session == open[0].id {
				open = open[1:] // it is ending just now
			}
			c, ended = ended[0].connection(g.opts.Node), ended[1:]
		} else {
			c, open = open[0].connection(), open[1:]
		}
		if !on(q.Channel, c.Channels, c.Left) {
			continue
		}
		if len(page) == q.Limit {
			return page, true
		}
		page = append(page, c)
	}
	return page, false
}

// connection tells how things stand with an open socket.
func (s *Session) connection() Connection {
	heard := time.UnixMilli(s.heard.Load())
	c := Connection{
		Session: s.id, Gateway: s.gw.opts.Node, State: "open", Connected: time.UnixMilli(s.opened), Heard: &heard,
		BacklogBytes: s.conn.pending(), Channels: []Membership{},
	}
	c.identify(s.Identity())
	s.mu.Lock()
	subs := slices.Clone(s.subs)
	c.Left = append([]Membership{}, s.left...)
	if s.ending || s.ended {
		c.State, c.Code, c.Reason = "closing", s.code, closeReasons[s.reason]
	}
	s.mu.Unlock()
	c.ChannelsTotal = len(subs)
	for _, m := range subs[:min(len(subs), maxMemberships)] {
		m.topic.mu.Lock()
		is := m.membershipLocked()
		m.topic.mu.Unlock()
		if !is.Joined.IsZero() {
			c.Channels = append(c.Channels, is)
		}
	}
	return c
}

func (c *Connection) identify(who *protocol.Identity) {
	c.Authenticated, c.Permissions = who.Authenticated, Permissions{DboID: who.DboID, RowID: who.RowID}
}

// membershipLocked tells how things stand with a member; its Joined is zero when it is none. topic.mu is held.
func (m *subscription) membershipLocked() Membership {
	if m.index < 0 {
		return Membership{}
	}
	t := m.topic
	is := Membership{
		Channel: t.key.Channel, Joined: time.UnixMilli(m.joined), Stored: t.stored && !t.pattern(), Presence: m.presence.Load(),
		CatchingUp: m.hold.Load() != nil,
	}
	if is.Stored {
		is.JoinedOffset, is.Offset = m.start, max(m.start, t.written)
	}
	return is
}

// noteLeft remembers a channel that the session left before its end. One taken from it at the very end is not: the
// record is made.
func (s *Session) noteLeft(was Membership, why string) {
	if was.Joined.IsZero() {
		return
	}
	now := time.Now()
	was.Left, was.Why, was.CatchingUp = &now, why, false
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if len(s.left) == maxLeft {
		copy(s.left, s.left[1:])
		s.left = s.left[:maxLeft-1]
	}
	s.left = append(s.left, was)
}

// gwsCode is an error that gws closes a socket for, by its close code; gws does not export the type.
type gwsCode interface {
	error
	Uint16() uint16
}

var errMalformed = errors.New("malformed frame")

const closeProtocol = 1002 // of the WebSocket protocol itself

// closeCodeOf is what the peer closed the socket with, or was told for what it sent.
func closeCodeOf(err error) protocol.CloseCode {
	if e, ok := errors.AsType[*gws.CloseError](err); ok {
		return protocol.CloseCode(e.Code)
	}
	if e, ok := errors.AsType[gwsCode](err); ok {
		return protocol.CloseCode(e.Uint16())
	}
	if errors.Is(err, errMalformed) || err != nil && strings.HasPrefix(err.Error(), "gws: unexpected opcode") {
		return closeProtocol
	}
	return 0
}
