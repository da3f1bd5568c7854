package gateway

import (
	"encoding/json"
	"time"

	"fanfare/protocol"
)

// While a gateway drains its members go one after the other, and come straight back on other gateways. These go on
// showing them until then (Presence.Delete leaves the entry for a grace); so does this one, to those who are still here:
// nobody sees a user leave who comes straight back. What is still kept ends with the drain.

// stayGrace is how long an entry is kept for its user's return. It is looked at when the next one goes.
const stayGrace = 10 * time.Second

// stays are the entries of a roster that are kept, oldest first.
type stays []stay

type stay struct {
	user user
	key  rosterKey
	at   time.Time
}

// user is an authenticated one.
type user struct {
	dbo int64
	row protocol.RowID
}

// stayLocked keeps the entry of a member that is sent away; false when it is to go at once. Called with t.mu held.
func (t *topic) stayLocked(m *subscription, key rosterKey) bool {
	id := m.session.Identity()
	if !m.session.sentAway.Load() || !id.Authenticated || id.RowID == "" {
		return false
	}
	if _, there := t.roster.index[key]; !there {
		return false
	}
	now := time.Now()
	for len(t.roster.stays) > 0 && now.Sub(t.roster.stays[0].at) > stayGrace {
		t.changeLocked(protocol.PresenceLeave, t.roster.stays[0].key, nil)
		t.roster.stays = t.roster.stays[1:]
	}
	t.roster.stays = append(t.roster.stays, stay{user{id.DboID, id.RowID}, key, now})
	return true
}

// backLocked lets one kept entry of a user go who has joined elsewhere. Called with t.mu held.
func (t *topic) backLocked(key rosterKey, entry []byte) {
	if len(t.roster.stays) == 0 {
		return
	}
	var v struct {
		Permissions struct {
			DboID int64          `json:"dbo_id"`
			RowID protocol.RowID `json:"row_id"`
		} `json:"permissions"`
	}
	if json.Unmarshal(entry, &v) != nil {
		return
	}
	who := user{v.Permissions.DboID, v.Permissions.RowID}
	for i, s := range t.roster.stays {
		if s.user == who && s.key.source == key.source {
			t.roster.stays = append(t.roster.stays[:i], t.roster.stays[i+1:]...)
			t.changeLocked(protocol.PresenceLeave, s.key, nil)
			return
		}
	}
}
