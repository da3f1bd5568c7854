package gateway

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"fanfare/protocol"
)

// recentEach is how many ended sockets are remembered of each sort. A storm of clients that go by themselves must not
// push out those that we have ended: these are the ones that people ask about.
const recentEach = 1024

// recent remembers the sockets that ended last. Its memory grows with them, up to its bound.
type recent struct {
	mu    sync.Mutex
	sorts [2]struct {
		list []*past
		next int // of a full list: the oldest one
	}
}

// past is a socket that has ended. Extras are not kept: they may be large.
type past struct {
	session  protocol.SessionID
	server   protocol.ServerID
	identity protocol.Identity
	opened   int64 // Unix milliseconds
	closed   time.Time
	code     protocol.CloseCode
	reason   closeReason
	backlog  int
	channels []Membership
	total    int
	left     []Membership
}

// past begins the record of a socket that ends, of the number of channels it was on and those it left before. Its
// reason is fixed.
func (s *Session) past(channels int, left []Membership) *past {
	who := s.Identity()
	p := &past{
		session: s.id, server: s.server, opened: s.opened, closed: time.Now(), code: s.code, reason: s.reason, left: left,
		identity: protocol.Identity{Authenticated: who.Authenticated, DboID: who.DboID, RowID: who.RowID},
		backlog:  s.conn.pending(), channels: make([]Membership, 0, min(channels, maxPast)), total: channels,
	}
	if p.reason == reasonBacklog {
		p.code = protocol.CloseTryAgain // the backlog's own close frame
	}
	return p
}

// was adds a channel it was on.
func (p *past) was(m Membership) {
	if len(p.channels) < maxPast && !m.Joined.IsZero() {
		p.channels = append(p.channels, m)
	}
}

func (p *past) connection(node protocol.NodeID) Connection {
	c := Connection{
		Session: p.session, Gateway: node, State: "closed", Connected: time.UnixMilli(p.opened), BacklogBytes: p.backlog,
		Channels: append([]Membership{}, p.channels...), ChannelsTotal: p.total, Left: append([]Membership{}, p.left...),
		Closed: &p.closed, Code: p.code, Reason: closeReasons[p.reason],
	}
	c.identify(&p.identity)
	return c
}

func (r *recent) add(p *past) {
	sort := &r.sorts[0]
	switch p.reason { //nolint:exhaustive // all others are our doing
	case reasonClient, reasonLost, reasonDrain, reasonShutdown:
		sort = &r.sorts[1]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(sort.list) < recentEach {
		sort.list = append(sort.list, p)
		return
	}
	sort.list[sort.next] = p
	sort.next = (sort.next + 1) % recentEach
}

// find gives those a query is about, by name.
func (r *recent) find(q *ConnectionsQuery) []*past {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*past
	for i := range r.sorts {
		for _, p := range r.sorts[i].list {
			if q.asks(p.server, p.session, &p.identity) {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(x, y *past) int { return cmp.Compare(x.session, y.session) })
	return out
}
