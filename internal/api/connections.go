package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"fanfare/protocol"
)

// maxConnections is the longest page: an entry may be large.
const maxConnections = 200

// connectionsDoc is a page of sockets.
type connectionsDoc struct {
	Items []json.RawMessage `json:"items"`
	Next  *string           `json:"next"`
	// Unanswered gateways may have more.
	Unanswered []protocol.NodeID `json:"unanswered"`
}

// listConnections answers how sockets stand, or stood when they ended: what is needed to say why somebody did not
// get a message.
func (a *API) listConnections(req *request) error {
	q := req.query()
	query := ConnectionsQuery{
		Server: req.server, Session: protocol.SessionID(q.text("socketId")),
		Limit: q.number("limit", maxConnections, defaultPage), After: protocol.SessionID(q.cursor()),
	}
	channel, dbo, row := q.text("channel"), q.text("dbo_id"), q.text("row_id")
	if dbo != "" {
		n, err := strconv.ParseInt(dbo, 10, 64)
		if err != nil || n < 0 {
			q.fail("dbo_id", "must be the number of a table")
		}
		query.DboID = n
	}
	query.User, query.RowID = dbo != "" || row != "", protocol.RowIDFromString(row)
	if err := q.end(); err != nil {
		return err
	}
	if channel != "" {
		ch, err := protocol.ParseChannel(channel, a.o.Limits.ChannelBytes, a.o.Limits.ChannelSegments)
		if err != nil {
			return &statusError{status: http.StatusBadRequest, Code: protocol.CodeInvalidChannel, Message: sentence(err), Field: "channel"}
		}
		query.Channel = ch
	}
	ctx, cancel := context.WithTimeout(req.r.Context(), callTimeout)
	defer cancel()
	found, err := a.o.Backend.Connections(ctx, query)
	if err != nil {
		return err
	}
	doc := connectionsDoc{Items: found.Items, Unanswered: found.Unanswered}
	if doc.Items == nil {
		doc.Items = []json.RawMessage{}
	}
	if doc.Unanswered == nil {
		doc.Unanswered = []protocol.NodeID{}
	}
	if found.Next != "" {
		next := toCursor(string(found.Next))
		doc.Next = &next
	}
	return send(req.w, http.StatusOK, doc)
}
