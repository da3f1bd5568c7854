package client

import (
	"encoding/json"
	"fmt"
	"strconv"

	"fanfare/protocol"
)

// frame is one inbound frame.
type frame struct {
	Action  string          `json:"action"`
	Options frameOptions    `json:"options"`
	Client  *wireMember     `json:"client"`
	Payload json.RawMessage `json:"payload"`
	raw     []byte
}

type frameOptions struct {
	Channel       string  `json:"channel"`
	Source        string  `json:"source"`
	Offset        *string `json:"offset"`
	Epoch         string  `json:"epoch"`
	ID            string  `json:"id"`
	Ref           string  `json:"ref"`
	Authenticated bool    `json:"authenticated"`
	Socket        *string `json:"socketId"`
}

type wireMember struct {
	Socket      string          `json:"socketId"`
	Extras      json.RawMessage `json:"extras"`
	Permissions struct {
		DboID int64          `json:"dbo_id"`
		RowID protocol.RowID `json:"row_id"`
	} `json:"permissions"`
	Data   json.RawMessage `json:"data"`
	Source string          `json:"source"`
}

func (w *wireMember) member() Member {
	return Member{
		Socket: w.Socket, Extras: w.Extras, DboID: w.Permissions.DboID, RowID: w.Permissions.RowID,
		Data: w.Data, Source: w.Source,
	}
}

// offset is options.offset as a number; false when there is none.
func (o *frameOptions) offset() (uint64, bool) {
	if o.Offset == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(*o.Offset, 10, 64)
	return n, err == nil
}

func decodeFrame(b []byte) (*frame, error) {
	f := &frame{raw: b}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return f, nil
}

// message reads a message or event frame.
func (f *frame) message() (*Message, error) {
	m := &Message{Channel: f.Options.Channel, Kind: protocol.KindMessage, ID: f.Options.ID, Authenticated: f.Options.Authenticated, Data: f.Payload, Frame: f.raw}
	m.Offset, _ = f.Options.offset()
	if f.Options.Source != "" {
		m.Channel = f.Options.Source
	}
	if f.Options.Socket != nil {
		m.To = *f.Options.Socket
	}
	if f.Client != nil {
		sender := f.Client.member()
		m.Sender = &sender
	}
	if f.Action != "event" {
		return m, nil
	}
	m.Kind = protocol.KindEvent
	var p struct {
		Data  json.RawMessage `json:"data"`
		DboID int64           `json:"dbo_id"`
		RowID protocol.RowID  `json:"row_id"`
	}
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	m.Data, m.DboID, m.RowID = p.Data, p.DboID, p.RowID
	return m, nil
}

// history reads a history frame; more is nil unless the request was paged.
func (f *frame) history() (messages []*Message, more *bool, err error) {
	var p struct {
		History []json.RawMessage `json:"history"`
		More    *bool             `json:"more"`
	}
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return nil, nil, fmt.Errorf("history: %w", err)
	}
	messages = make([]*Message, 0, len(p.History))
	for _, raw := range p.History {
		entry, err := decodeFrame(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("history: %w", err)
		}
		m, err := entry.message()
		if err != nil {
			return nil, nil, fmt.Errorf("history: %w", err)
		}
		messages = append(messages, m)
	}
	return messages, p.More, nil
}

// failure reads an error frame.
func (f *frame) failure() *protocol.Error {
	var p struct {
		Message    string        `json:"message"`
		Code       protocol.Code `json:"code"`
		RetryAfter float64       `json:"retry_after"`
	}
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return &protocol.Error{Code: protocol.CodeInternal, Message: "The server sent an error that cannot be read."}
	}
	return &protocol.Error{Code: p.Code, Message: p.Message, RetryAfter: int(p.RetryAfter)}
}

// The outbound frames.

func appendRequest(action, channel string) []byte {
	b := append(make([]byte, 0, 128), `{"action":"`...)
	b = append(b, action...)
	b = append(b, `","options":{"channel":`...)
	return protocol.AppendString(b, channel)
}

func joinFrame(channel string, o ChannelOptions, from *Position) []byte {
	b := appendRequest("join", channel)
	b = append(b, `},"payload":{"history":`...)
	b = strconv.AppendBool(b, o.History)
	b = append(b, `,"presence":`...)
	b = strconv.AppendBool(b, o.Presence)
	if from != nil {
		b = append(b, `,"resume":{"offset":"`...)
		b = strconv.AppendUint(b, from.Offset, 10)
		b = append(b, '"')
		if from.Epoch != "" {
			b = append(b, `,"epoch":`...)
			b = protocol.AppendString(b, from.Epoch)
		}
		b = append(b, '}')
	}
	return append(b, '}', '}')
}

func leaveFrame(channel string) []byte {
	return append(appendRequest("leave", channel), `},"payload":null}`...)
}

func messageFrame(channel, ref string, o SendOptions, payload []byte) []byte {
	b := appendRequest("message", channel)
	if o.Authenticated {
		b = append(b, `,"authenticated":true`...)
	}
	if o.To != "" {
		b = append(b, `,"socketId":`...)
		b = protocol.AppendString(b, o.To)
	}
	b = append(b, `,"ref":`...)
	b = protocol.AppendString(b, ref)
	b = append(b, `},"payload":`...)
	b = append(b, payload...)
	return append(b, '}')
}

func presenceFrame(channel string, data []byte) []byte {
	b := append(appendRequest("presence_update", channel), `},"payload":{"data":`...)
	b = append(b, data...)
	return append(b, '}', '}')
}

func historyFrame(channel string, q HistoryQuery) []byte {
	b := append(appendRequest("history", channel), `},"payload":{"limit":`...)
	b = strconv.AppendInt(b, int64(q.Limit), 10)
	offset := func(name string, n uint64) {
		b = append(b, `,"`+name+`":"`...)
		b = strconv.AppendUint(b, n, 10)
		b = append(b, '"')
	}
	if q.Before > 0 {
		offset("before", q.Before)
	}
	if q.After != nil {
		offset("after", *q.After)
	}
	if !q.Since.IsZero() {
		b = append(b, `,"since":`...)
		b = strconv.AppendInt(b, q.Since.UnixMilli(), 10)
	}
	return append(b, '}', '}')
}
