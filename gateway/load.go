package gateway

import "fanfare/protocol"

// ChannelLoad is what a channel has on this node.
type ChannelLoad struct {
	Members int `json:"members"`
	// Delivered counts the publications fanned out here since the channel was opened.
	Delivered uint64 `json:"delivered"`
}

// Loads gives the channels of a server with members on this node.
func (g *Gateway) Loads(server protocol.ServerID) map[protocol.Channel]ChannelLoad {
	out := make(map[protocol.Channel]ChannelLoad)
	g.hub.each(func(t *topic) {
		if t.key.Server != server || t.pattern() {
			return
		}
		t.mu.Lock()
		load := ChannelLoad{Members: len(t.members), Delivered: t.delivered}
		t.mu.Unlock()
		if load.Members > 0 {
			out[t.key.Channel] = load
		}
	})
	return out
}

// SocketCount tells how many sockets of a server this node has.
func (g *Gateway) SocketCount(server protocol.ServerID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, s := range g.sessions {
		if s.server == server && !s.turnedAway {
			n++
		}
	}
	return n
}
