package gateway

import (
	"slices"

	"fanfare/protocol"
)

// roster is who is present in a topic, in the order of joining, kept encoded: a presence_full frame is the head,
// the chunks and the tail, and the chunks are shared by all who get it. What comes or goes touches one chunk, so that
// a list of thousands is not encoded anew for each who joins. A topic has a roster only while somebody there asked
// for presence. Guarded by topic.mu.
type roster struct {
	index  map[rosterKey]place
	chunks []*rosterChunk
	slots  int // of all chunks, those of removed entries included
	// unwatched is when the last watcher left, in Unix nanoseconds; 0 while there are watchers.
	unwatched int64
	stays     stays // entries of members that have gone and are kept
}

// rosterChunk is a stretch of entries.
type rosterChunk struct {
	entries []rosterEntry
	live    int
	// enc is all entries, each behind a comma. It only grows; a leave or a change makes it stale, and the next
	// snapshot builds a new one, so that snapshots handed out earlier stay true.
	enc   []byte
	stale bool
}

// place is where an entry is.
type place struct {
	chunk *rosterChunk
	slot  int
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

// chunkEntries is how many entries are encoded together.
const chunkEntries = 256

func newRoster() *roster { return &roster{index: make(map[rosterKey]place)} }

// put adds or replaces an entry and tells which.
func (r *roster) put(key rosterKey, entry []byte) (added bool) {
	if p, ok := r.index[key]; ok {
		p.chunk.entries[p.slot].json = entry
		p.chunk.stale = true
		return false
	}
	if last := len(r.chunks) - 1; last < 0 || len(r.chunks[last].entries) == chunkEntries {
		r.chunks = append(r.chunks, &rosterChunk{})
	}
	c := r.chunks[len(r.chunks)-1]
	r.index[key] = place{c, len(c.entries)}
	c.entries = append(c.entries, rosterEntry{key: key, json: entry})
	c.live++
	r.slots++
	if !c.stale {
		c.enc = append(append(c.enc, ','), entry...)
	}
	return true
}

// remove takes an entry out and gives it; nil when there was none.
func (r *roster) remove(key rosterKey) []byte {
	p, ok := r.index[key]
	if !ok {
		return nil
	}
	delete(r.index, key)
	entry := p.chunk.entries[p.slot].json
	p.chunk.entries[p.slot] = rosterEntry{}
	p.chunk.live--
	p.chunk.stale = true
	if r.slots > 2*len(r.index)+2*chunkEntries {
		r.compact()
	}
	return entry
}

// compact closes the gaps that removed entries left.
func (r *roster) compact() {
	chunks := r.chunks
	r.chunks, r.slots = nil, 0
	clear(r.index)
	for _, c := range chunks {
		for _, e := range c.entries {
			if e.json != nil {
				r.put(e.key, e.json)
			}
		}
	}
}

// snapshot gives all entries, encoded and separated by commas, in parts that nobody changes any more.
func (r *roster) snapshot() [][]byte {
	parts := make([][]byte, 0, len(r.chunks))
	for _, c := range r.chunks {
		if c.stale {
			c.encode()
		}
		if c.live == 0 {
			continue
		}
		part := slices.Clip(c.enc)
		if len(parts) == 0 {
			part = part[1:]
		}
		parts = append(parts, part)
	}
	return parts
}

func (c *rosterChunk) encode() {
	n := 0
	for i := range c.entries {
		n += len(c.entries[i].json) + 1
	}
	c.enc = make([]byte, 0, n+n/4)
	for i := range c.entries {
		if c.entries[i].json != nil {
			c.enc = append(append(c.enc, ','), c.entries[i].json...)
		}
	}
	c.stale = false
}
