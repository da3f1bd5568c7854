package consoleapi

import (
	"encoding/json"
	"net/http"
	"time"

	"fanfare/protocol"
)

// Bounds of the tokens made here: they are for trying things out.
const (
	mintDefault = 10 * time.Minute
	mintLongest = time.Hour
)

// MintQuery says who a token is for.
type MintQuery struct {
	DboID    int64
	RowID    protocol.RowID
	Extras   json.RawMessage // an object, or empty
	Lifetime time.Duration
}

var (
	errNoMint   = &problem{http.StatusConflict, "mint_off", "No auth.jwt_secret (FANFARE_AUTH_JWT_SECRET) is configured, so no token can be made here."}
	errMintBody = &problem{http.StatusBadRequest, "invalid_body", `The body must be {"dbo_id": 1, "row_id": 17, "extras": {…}, "ttl": 600}; ttl is in seconds, at most 3600.`}
	errMintWho  = &problem{http.StatusBadRequest, "invalid_field", "row_id must say which user."}
)

// mint makes a token that is good for a short while, so that somebody who may change every rule anyway can see what a
// user sees. It is answered to this page and stored nowhere.
func (c *Console) mint(w http.ResponseWriter, r *http.Request) error {
	if c.o.Mint == nil {
		return errNoMint
	}
	var body struct {
		DboID  int64           `json:"dbo_id"`
		RowID  protocol.RowID  `json:"row_id"`
		Extras json.RawMessage `json:"extras"`
		TTL    *int            `json:"ttl"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil || d.More() {
		return errMintBody
	}
	q := MintQuery{DboID: body.DboID, RowID: body.RowID, Lifetime: mintDefault}
	if body.TTL != nil {
		if *body.TTL < 1 || *body.TTL > int(mintLongest/time.Second) {
			return errMintBody
		}
		q.Lifetime = time.Duration(*body.TTL) * time.Second
	}
	if q.RowID == "" || q.DboID < 0 {
		return errMintWho
	}
	if string(body.Extras) != "null" {
		q.Extras = body.Extras
	}
	token, err := c.o.Mint(q)
	if err != nil {
		return &problem{http.StatusBadRequest, "invalid_field", "This user cannot be put into a token: " + err.Error() + "."}
	}
	c.log.Info("console: token made", "dbo_id", q.DboID, "row_id", q.RowID.Text(), "duration", q.Lifetime)
	return send(w, http.StatusOK, struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires"`
	}{token, time.Now().Add(q.Lifetime).Truncate(time.Second)})
}
