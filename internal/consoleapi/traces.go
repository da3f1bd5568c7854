package consoleapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"fanfare/protocol"
)

// TracesQuery asks where the messages of a channel spend their time on the gateway that holds a socket.
type TracesQuery struct {
	Server  protocol.ServerID
	Session protocol.SessionID
	Channel protocol.Channel
	// After is the number of the last trace that is known already.
	After uint64
}

// ErrNoGateway is what Options.Traces returns when the socket's gateway does not exist (any more).
var ErrNoGateway = errors.New("the gateway is gone")

// maxNameBytes is more than any channel or socket is called.
const maxNameBytes = 1 << 10

func (c *Console) traces(w http.ResponseWriter, r *http.Request) error {
	id, err := server(r)
	if err != nil {
		return err
	}
	asked := r.URL.Query()
	q := TracesQuery{Server: id, Session: protocol.SessionID(asked.Get("socketId")), Channel: protocol.Channel(asked.Get("channel"))}
	if after := asked.Get("after"); after != "" {
		if q.After, err = strconv.ParseUint(after, 10, 64); err != nil {
			return &problem{http.StatusBadRequest, "invalid_parameter", "after must be a number."}
		}
	}
	if q.Channel == "" || len(q.Channel) > maxNameBytes || len(q.Session) > maxNameBytes || !utf8.ValidString(string(q.Channel)) || protocol.NodeOf(q.Session) == "" {
		return &problem{http.StatusBadRequest, "invalid_parameter", "channel and socketId must name a channel and a socket."}
	}
	list, err := c.o.Traces(r.Context(), q)
	switch {
	case errors.Is(err, ErrNoGateway):
		return &problem{http.StatusNotFound, "gateway_gone", "The gateway that had this socket is gone."}
	case err != nil:
		return err
	}
	return send(w, http.StatusOK, struct {
		// Now is this gateway's clock, for a reader who compares it with its own.
		Now   time.Time       `json:"now"`
		Items json.RawMessage `json:"items"`
	}{time.Now(), list})
}
