package gateway

import (
	"sort"
	"time"

	"fanfare/protocol"
)

// ring keeps a channel's newest stored publications, so that joins and resumes need not ask the broker. It
// covers everything after floor up to the topic's position without a hole: it grows with what is delivered,
// and backwards with what was read for somebody (prepend).
type ring struct {
	floor uint64 // everything stored after this offset is in pubs
	pubs  []*protocol.Publication
	bytes int
	max   int  // publications to keep; 0 = none
	full  bool // floor is the very beginning: there is nothing older
	// begun is the topic's position when the ring was empty: what came later came live.
	begun uint64
	// loaded: what the store had before this node listened was asked for.
	loaded bool
}

// ringBytes bounds one channel's ring.
const ringBytes = 256 << 10

func (r *ring) reset(position uint64) {
	*r = ring{floor: position, begun: position, max: r.max, full: position == 0, loaded: position == 0}
}

func (r *ring) push(p *protocol.Publication) {
	r.pubs = append(r.pubs, p)
	r.bytes += len(p.Frame)
	r.trim()
}

func (r *ring) trim() {
	drop := 0
	for len(r.pubs)-drop > r.max || (r.bytes > ringBytes && drop < len(r.pubs)) {
		r.bytes -= len(r.pubs[drop].Frame)
		r.floor = r.pubs[drop].Offset
		drop++
	}
	if drop == 0 {
		return
	}
	r.full = false
	clear(r.pubs[:drop])
	r.pubs = r.pubs[drop:]
}

// prepend takes in what was read from the store up to offset upTo: the newest ones there, without a hole.
// reachesStart: there is nothing older in the store. When the ring was trimmed meanwhile it is left as it is.
func (r *ring) prepend(older []*protocol.Publication, upTo uint64, reachesStart bool) {
	r.loaded = true
	if r.floor != upTo {
		return
	}
	if room := r.max - len(r.pubs); len(older) > room {
		older, reachesStart = older[len(older)-max(0, room):], false
	}
	r.full = reachesStart
	if len(older) == 0 {
		return
	}
	r.pubs = append(append(make([]*protocol.Publication, 0, len(older)+len(r.pubs)), older...), r.pubs...)
	for _, p := range older {
		r.bytes += len(p.Frame)
	}
	r.floor = older[0].Offset - 1
	r.trim()
}

// after gives everything newer than offset, when the ring reaches that far.
func (r *ring) after(offset uint64) ([]*protocol.Publication, bool) {
	if offset < r.floor {
		return nil, false
	}
	i := sort.Search(len(r.pubs), func(i int) bool { return r.pubs[i].Offset > offset })
	return r.pubs[i:], true
}

// young tells whether everything stored after an offset that the ring reaches is there, and accepted at a moment or
// later. What was read from the store is without those that were over by then: of it only a publication that is
// not over proves that nothing behind it is.
func (r *ring) young(offset uint64, notBefore time.Time) bool {
	i := sort.Search(len(r.pubs), func(i int) bool { return r.pubs[i].Offset > offset })
	if i < len(r.pubs) && r.pubs[i].Accepted.Before(notBefore) {
		return false
	}
	return offset > r.begun || i > 0 && !r.pubs[i-1].Accepted.Before(notBefore)
}

// has tells whether the publication with that offset is in the ring.
func (r *ring) has(offset uint64) bool {
	i := sort.Search(len(r.pubs), func(i int) bool { return r.pubs[i].Offset >= offset })
	return i < len(r.pubs) && r.pubs[i].Offset == offset
}
