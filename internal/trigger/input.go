package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"

	"fanfare/protocol"
)

// Action is what a trigger is asked about.
type Action string

// The actions.
const (
	Join    Action = "join"
	Message Action = "message"
)

// Input is what a trigger is told.
type Input struct {
	// Server keeps the endpoints of different realtime servers apart; it is not sent.
	Server protocol.ServerID
	// Channel is the concrete name, never the rule's pattern.
	Channel protocol.Channel
	// Session and Identity are the client who asks.
	Session  protocol.SessionID
	Identity protocol.Identity
	// Authenticated and Recipient are options.authenticated and options.socketId as sent.
	Authenticated bool
	Recipient     protocol.SessionID
	// Payload is the frame's payload, a JSON value; empty counts as null.
	Payload json.RawMessage
}

type body struct {
	Action  Action          `json:"action"`
	Channel string          `json:"channel"`
	Client  bodyClient      `json:"client"`
	Options bodyOptions     `json:"options"`
	Payload json.RawMessage `json:"payload"`
}

type bodyClient struct {
	Extras      json.RawMessage `json:"extras"`
	Permissions bodyPermissions `json:"permissions"`
	SocketID    string          `json:"socketId"`
}

type bodyPermissions struct {
	DboID int64  `json:"dbo_id"`
	RowID string `json:"row_id"` // text, as Xano's triggers get it
}

type bodyOptions struct {
	Authenticated bool   `json:"authenticated"`
	Channel       string `json:"channel"`
	SocketID      string `json:"socketId,omitempty"`
}

// encode gives the bytes to post. Texts stay as they are: HTML escapes would be correct but change what a
// back end that compares bytes sees.
func (in *Input) encode(action Action, payload json.RawMessage) ([]byte, error) {
	extras := in.Identity.Extras
	if len(extras) == 0 {
		extras = json.RawMessage("{}")
	}
	if len(payload) == 0 {
		payload = json.RawMessage("null")
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(body{
		Action:  action,
		Channel: string(in.Channel),
		Client: bodyClient{
			Extras:      extras,
			Permissions: bodyPermissions{DboID: in.Identity.DboID, RowID: in.Identity.RowID.Text()},
			SocketID:    string(in.Session),
		},
		Options: bodyOptions{
			Authenticated: in.Authenticated, Channel: string(in.Channel), SocketID: string(in.Recipient),
		},
		Payload: payload,
	})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
