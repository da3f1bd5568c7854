package settings

import (
	"cmp"
	"slices"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// state is what the source is known to hold. The store's lock guards it.
type state struct {
	entries map[protocol.ServerID]*entry
	books   uint64 // how many books were made
}

// entry is one key of the source.
type entry struct {
	// revision of the newest value seen, valid or not.
	revision uint64
	// server is the newest valid value; nil when it was deleted or never was valid.
	server *policy.Server
	// spoilt: the newest value is invalid.
	spoilt bool
}

// put takes a value over and tells whether anything changed. Values that are older than what is known are late
// news and ignored.
func (st *state) put(revision uint64, server *policy.Server) bool {
	e := st.entries[server.ID]
	if e == nil {
		e = &entry{}
		st.entries[server.ID] = e
	}
	if revision <= e.revision {
		return false
	}
	server.Revision = revision
	*e = entry{revision: revision, server: server}
	return true
}

// spoil notes that the value at a revision is invalid: what was there before stays in force, but under the new
// revision, so that the next write by compare-and-set replaces the invalid value.
func (st *state) spoil(id protocol.ServerID, revision uint64) bool {
	e := st.entries[id]
	if e == nil {
		st.entries[id] = &entry{revision: revision, spoilt: true}
		return true
	}
	if revision <= e.revision {
		return false
	}
	e.revision, e.spoilt = revision, true
	if e.server != nil {
		// A shallow copy: the rules stay the very same ones, so nobody has to look at them again.
		c := *e.server
		c.Revision = revision
		e.server = &c
	}
	return true
}

// spoilt counts the servers whose newest value is invalid.
func (st *state) spoilt() int {
	n := 0
	for _, e := range st.entries {
		if e.spoilt {
			n++
		}
	}
	return n
}

// lost gives the servers whose newest value is invalid and of which no valid one was ever seen here.
func (st *state) lost() []protocol.ServerID {
	var ids []protocol.ServerID
	for id, e := range st.entries {
		if e.spoilt && e.server == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// recover gives such a server an older value that is valid, if it is still needed.
func (st *state) recover(server *policy.Server) bool {
	e := st.entries[server.ID]
	if e == nil || !e.spoilt || e.server != nil {
		return false
	}
	server.Revision = e.revision
	e.server = server
	return true
}

// remove notes that a server was deleted. The entry stays, so that its number is not given out again: channels
// and history of the old server must not turn up in a new one.
func (st *state) remove(id protocol.ServerID, revision uint64) bool {
	e := st.entries[id]
	if e == nil {
		st.entries[id] = &entry{revision: revision}
		return false
	}
	if revision <= e.revision {
		return false
	}
	had := e.server != nil
	*e = entry{revision: revision}
	return had
}

// newest gives the newest revision of a number; 0 = the number was never used.
func (st *state) newest(id protocol.ServerID) uint64 {
	if e := st.entries[id]; e != nil {
		return e.revision
	}
	return 0
}

// next gives the number after the highest ever used.
func (st *state) next() protocol.ServerID {
	var highest protocol.ServerID
	for id := range st.entries {
		highest = max(highest, id)
	}
	return highest + 1
}

// loser is a server whose newest settings claim a hash that a server with a lower number has.
type loser struct{ id, owner protocol.ServerID }

// book makes the settings in force. Where two servers claim one hash the lower number has it, and the other keeps
// what it had in old, if that still goes. Every node decides this alike.
func (st *state) book(old *policy.Book) (*policy.Book, []loser) {
	st.books++
	servers := make([]*policy.Server, 0, len(st.entries))
	for _, e := range st.entries {
		if e.server != nil {
			servers = append(servers, e.server)
		}
	}
	slices.SortFunc(servers, func(a, b *policy.Server) int { return cmp.Compare(a.ID, b.ID) })
	owners := make(map[string]protocol.ServerID, len(servers))
	kept := make([]*policy.Server, 0, len(servers))
	var losers []loser
	for _, s := range servers {
		if owner, taken := owners[s.Hash]; taken {
			losers = append(losers, loser{id: s.ID, owner: owner})
			before := old.ByID(s.ID)
			if before == nil {
				continue
			}
			if _, taken := owners[before.Hash]; taken {
				continue
			}
			c := *before
			c.Revision = s.Revision
			s = &c
		}
		owners[s.Hash] = s.ID
		kept = append(kept, s)
	}
	b, err := policy.NewBook(st.books, kept)
	if err != nil {
		// Cannot be: numbers are map keys and hashes were compared above. The settings in force stay.
		return old, losers
	}
	return b, losers
}
