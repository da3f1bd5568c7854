package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"fanfare/gateway"
	"fanfare/internal/auth"
	"fanfare/internal/consoleapi"
	"fanfare/protocol"
	webconsole "fanfare/web/console"
)

// consolePath is where the web console lives.
const consolePath = "/console/"

// console answers below consolePath.
func (n *Node) console() (http.Handler, error) {
	pages, err := webconsole.Handler(consolePath)
	if err != nil {
		return nil, err
	}
	calls, err := consoleapi.New(consoleapi.Options{
		AdminToken: n.cfg.AdminToken.Reveal(), API: n.api, Look: n.scene, Traces: n.traces, Mint: n.minter(), Gatherer: n.reg, Logger: n.log,
		About: consoleapi.About{Gateway: n.id, Version: n.opts.Version, ReadOnly: n.settings.ReadOnly(), Demo: n.hasDemo()},
	})
	if err != nil {
		return nil, err
	}
	n.measure = calls.Measure
	mux := http.NewServeMux()
	mux.Handle(consolePath, pages)
	mux.Handle(consoleapi.Prefix, calls)
	return mux, nil
}

// minter makes tokens for the console's inspector; nil without a secret to sign them with.
func (n *Node) minter() func(consoleapi.MintQuery) (string, error) {
	a := &n.cfg.Auth
	if a.JWTSecret.Reveal() == "" {
		return nil
	}
	return func(q consoleapi.MintQuery) (string, error) {
		return auth.Mint(auth.MintOptions{
			Secret: a.JWTSecret.Reveal(), Claims: auth.Claims{DboID: a.Claims.DboID, RowID: a.Claims.RowID, Extras: a.Claims.Extras},
			DboID: q.DboID, RowID: q.RowID, Extras: q.Extras, Issuer: a.Issuer, Audience: a.Audience, Lifetime: q.Lifetime,
		})
	}
}

// load is what a gateway says about a realtime server, the fullest channels and how many there are, and about itself.
type load struct {
	Node     protocol.NodeID                          `json:"node"`
	Sockets  int                                      `json:"sockets"`
	Total    int                                      `json:"total"`
	Channels map[protocol.Channel]gateway.ChannelLoad `json:"channels"`
	Measures *consoleapi.Measures                     `json:"measures,omitempty"`
}

func loadOf(g *gateway.Gateway, self protocol.NodeID, server protocol.ServerID) load {
	all := g.Loads(server)
	l := load{Node: self, Sockets: g.SocketCount(server), Total: len(all), Channels: all}
	if len(all) <= consoleapi.MaxChannels {
		return l
	}
	names := make([]protocol.Channel, 0, len(all))
	for c := range all {
		names = append(names, c)
	}
	slices.SortFunc(names, func(x, y protocol.Channel) int {
		return cmp.Or(cmp.Compare(all[y].Members, all[x].Members), cmp.Compare(x, y))
	})
	for _, c := range names[consoleapi.MaxChannels:] {
		delete(all, c)
	}
	return l
}

// load is this gateway's.
func (n *Node) load(server protocol.ServerID) load {
	l := loadOf(n.gateway, n.id, server)
	m, err := n.measure()
	if err != nil {
		n.log.Warn("the metrics cannot be read for the console", "err", err)
		return l
	}
	l.Measures = &m
	return l
}

func (n *Node) answerLoad(_ context.Context, payload []byte) ([]byte, error) {
	var server protocol.ServerID
	if err := json.Unmarshal(payload, &server); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return json.Marshal(n.load(server))
}

// scene puts together what all gateways say. Those that do not answer in time are shown without numbers: the
// console must work best when something does not.
func (n *Node) scene(ctx context.Context, server protocol.ServerID) (consoleapi.Scene, error) {
	loads := []load{n.load(server)}
	if others := n.peers.others(n.id); len(others) > 0 {
		payload, _ := json.Marshal(server)
		ctx, cancel := context.WithTimeout(ctx, peerTimeout)
		defer cancel()
		answers, err := n.broker.RequestAll(ctx, verbLoad, payload, others)
		if err != nil {
			n.log.Warn("not every gateway says what goes on there", "err", err)
		}
		for _, a := range answers {
			var l load
			if json.Unmarshal(a, &l) == nil && l.Node != "" {
				loads = append(loads, l)
			}
		}
	}
	return join(n, loads), nil
}

func join(n *Node, loads []load) consoleapi.Scene {
	s := consoleapi.Scene{Channels: []consoleapi.ChannelState{}, Measures: []consoleapi.GatewayMeasures{}}
	sockets := make(map[protocol.NodeID]*int, len(loads))
	channels := make(map[protocol.Channel]consoleapi.ChannelState)
	cut := 0
	for i := range loads {
		l := &loads[i]
		if l.Measures != nil {
			s.Measures = append(s.Measures, consoleapi.GatewayMeasures{Gateway: l.Node, Measures: *l.Measures})
		}
		sockets[l.Node] = &l.Sockets
		s.Sockets += l.Sockets
		cut += l.Total - len(l.Channels)
		for name, c := range l.Channels {
			state := channels[name]
			state.Channel, state.Members = name, state.Members+c.Members
			state.Messages = max(state.Messages, c.Delivered)
			channels[name] = state
		}
	}
	for _, g := range n.presence.Nodes() {
		s.Gateways = append(s.Gateways, consoleapi.GatewayState{
			ID: g.ID, Addr: g.Addr, State: g.State.String(), Started: g.Started, Sockets: sockets[g.ID],
		})
	}
	for _, c := range channels {
		s.Channels = append(s.Channels, c)
	}
	s.ChannelsTotal = len(s.Channels) + cut
	slices.SortFunc(s.Channels, func(x, y consoleapi.ChannelState) int {
		return cmp.Or(cmp.Compare(y.Members, x.Members), cmp.Compare(x.Channel, y.Channel))
	})
	s.Channels = s.Channels[:min(len(s.Channels), consoleapi.MaxChannels)]
	return s
}
