package broker

import "fanfare/protocol"

// maxMarks is of how many gateways a feed remembers what came last.
const maxMarks = 64

// marks tells late publications. A broker that froze still sends what it had taken in when it goes on, and a link
// does; by then its gateway has sent later ones by way of another broker. Those behind are dropped: delivered at most
// once, in each sender's order. A topic comes on one connection, so one goroutine owns its marks.
//
// They stand in the order of their use. At the limit the gateway that was silent longest is forgotten, in time those
// that died. If it lives all the same, something late of it may pass.
type marks []mark

type mark struct {
	origin [protocol.NodeIDLen]byte
	last   uint64
}

// late notes a publication and tells whether one with a higher number, or itself, came before.
func (m *marks) late(origin protocol.NodeID, number uint64) bool {
	if len(origin) != protocol.NodeIDLen {
		return false
	}
	id := [protocol.NodeIDLen]byte([]byte(origin))
	s := *m
	for i := range s {
		if s[i].origin != id {
			continue
		}
		if number <= s[i].last {
			return true
		}
		copy(s[1:i+1], s[:i])
		s[0] = mark{id, number}
		return false
	}
	if len(s) < maxMarks {
		s = append(s, mark{})
	}
	copy(s[1:], s)
	s[0] = mark{id, number}
	*m = s
	return false
}
