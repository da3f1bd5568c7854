package api

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// postDisconnect ends the sockets of a user, or one.
func (a *API) postDisconnect(req *request) error {
	if err := req.query().end(); err != nil {
		return err
	}
	body, err := req.body()
	if err != nil {
		return err
	}
	var doc struct {
		DboID     jsontext.Value `json:"dbo_id"`
		RowID     jsontext.Value `json:"row_id"`
		AuthTable jsontext.Value `json:"auth_table"`
		AuthID    jsontext.Value `json:"auth_id"`
		SocketID  *string        `json:"socketId"`
	}
	if err := policy.Unmarshal(body, &doc); err != nil {
		return err
	}
	event := eventDoc{DboID: doc.DboID, RowID: doc.RowID, AuthTable: doc.AuthTable, AuthID: doc.AuthID, SocketID: doc.SocketID}
	var who protocol.Audience
	if err := event.audience(&who); err != nil {
		return err
	}
	if who.Kind == protocol.Everyone {
		// An empty body must not end everybody's socket.
		return badField("", "must name dbo_id and row_id, or socketId")
	}
	ctx, cancel := context.WithTimeout(req.r.Context(), callTimeout)
	defer cancel()
	n, err := a.o.Backend.Disconnect(ctx, DisconnectQuery{
		Server: req.server, Session: who.Session, DboID: who.DboID, RowID: who.RowID,
	})
	if err != nil {
		return err
	}
	a.log.Info("api: sockets ended", "server", req.server.ID, "sockets", n)
	return send(req.w, http.StatusOK, struct {
		Disconnected int `json:"disconnected"`
	}{n})
}
