package gateway

import (
	"slices"

	"fanfare/protocol"
)

// roster is who is present in a topic, in the order of joining, kept encoded: a presence_full frame is the
// head, a prefix of enc and the tail, shared by all who get it. A topic has a roster only while somebody there
// asked for presence. Guarded by topic.mu.
type roster struct {
	index   map[rosterKey]int
	entries []rosterEntry
	// enc is all entries separated by commas. It only grows; a leave or a change makes it stale, and the next
	// snapshot builds a new one, so that snapshots handed out earlier stay true.
	enc   []byte
	stale bool
	// unwatched is when the last watcher left, in Unix nanoseconds; 0 while there are watchers.
	unwatched int64
}

// rosterKey tells entries apart: in a pattern's roster a session has one for each channel.
type rosterKey struct {
	session protocol.SessionID
	source  protocol.Channel
}

type rosterEntry struct {
	key  rosterKey
	json []byte // empty once removed
}

func newRoster() *roster { return &roster{index: make(map[rosterKey]int)} }

// put adds or replaces an entry and tells which.
func (r *roster) put(key rosterKey, entry []byte) (added bool) {
	if i, ok := r.index[key]; ok {
		r.entries[i].json = entry
		r.stale = true
		return false
	}
	r.index[key] = len(r.entries)
	r.entries = append(r.entries, rosterEntry{key: key, json: entry})
	if !r.stale {
		if len(r.enc) > 0 {
			r.enc = append(r.enc, ',')
		}
		r.enc = append(r.enc, entry...)
	}
	return true
}

// remove takes an entry out and gives it; nil when there was none.
func (r *roster) remove(key rosterKey) []byte {
	i, ok := r.index[key]
	if !ok {
		return nil
	}
	delete(r.index, key)
	entry := r.entries[i].json
	r.entries[i] = rosterEntry{}
	r.stale = true
	if len(r.entries) > 2*len(r.index)+16 {
		r.compact()
	}
	return entry
}

func (r *roster) compact() {
	r.entries = slices.DeleteFunc(r.entries, func(e rosterEntry) bool { return e.json == nil })
	for i := range r.entries {
		r.index[r.entries[i].key] = i
	}
}

// snapshot gives all entries, encoded and separated by commas; nobody changes them any more.
func (r *roster) snapshot() []byte {
	if r.stale {
		r.compact()
		n := 0
		for i := range r.entries {
			n += len(r.entries[i].json) + 1
		}
		r.enc = make([]byte, 0, n+n/4)
		for i := range r.entries {
			if i > 0 {
				r.enc = append(r.enc, ',')
			}
			r.enc = append(r.enc, r.entries[i].json...)
		}
		r.stale = false
	}
	return r.enc[:len(r.enc):len(r.enc)]
}
