package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"fanfare/broker"
	"fanfare/gateway"
	"fanfare/internal/api"
	"fanfare/internal/consoleapi"
	"fanfare/protocol"
)

// maxSocketsAnswer bounds one gateway's answer about its sockets in bytes: the broker refuses what is over a megabyte.
const maxSocketsAnswer = 512 << 10

// socketsAnswer is what one gateway knows: sockets in the order of their names. More: there are others behind them.
type socketsAnswer struct {
	Items []json.RawMessage    `json:"items"`
	IDs   []protocol.SessionID `json:"ids"`
	More  bool                 `json:"more"`
}

func socketsOf(g *gateway.Gateway, q gateway.ConnectionsQuery) (socketsAnswer, error) {
	list, more := g.Connections(q)
	a := socketsAnswer{More: more}
	size := 0
	for i := range list {
		item, err := json.Marshal(&list[i])
		if err != nil {
			return a, fmt.Errorf("sockets: %w", err)
		}
		if size += len(item); size > maxSocketsAnswer && i > 0 {
			a.More = true
			break
		}
		a.Items, a.IDs = append(a.Items, item), append(a.IDs, list[i].Session)
	}
	return a, nil
}

func (p *peers) answerSockets(_ context.Context, payload []byte) ([]byte, error) {
	var q gateway.ConnectionsQuery
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, fmt.Errorf("sockets: %w", err)
	}
	a, err := socketsOf(p.gateway, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// Connections asks all gateways. Who does not answer is named: what the others know is worth something.
func (b *backend) Connections(ctx context.Context, q api.ConnectionsQuery) (api.ConnectionsPage, error) {
	question := gateway.ConnectionsQuery{
		Server: q.Server.ID, Session: q.Session, User: q.User, DboID: q.DboID, RowID: q.RowID,
		Channel: q.Channel, After: q.After, Limit: q.Limit,
	}
	here, err := socketsOf(b.gateway, question)
	if err != nil {
		return api.ConnectionsPage{}, err
	}
	var page api.ConnectionsPage
	all := []socketsAnswer{here}
	if others := b.peers.others(b.id); len(others) > 0 {
		payload, err := json.Marshal(question)
		if err != nil {
			return page, fmt.Errorf("sockets: %w", err)
		}
		ctx, cancel := context.WithTimeout(ctx, peerTimeout)
		defer cancel()
		answers, err := b.broker.RequestAll(ctx, verbSockets, payload, others)
		if err != nil {
			b.log.Warn("not every gateway tells about its sockets", "err", err)
		}
		for _, node := range others {
			var a socketsAnswer
			if answer, ok := answers[node]; !ok || json.Unmarshal(answer, &a) != nil || len(a.IDs) != len(a.Items) {
				page.Unanswered = append(page.Unanswered, node)
				continue
			}
			all = append(all, a)
		}
	}
	page.Items, page.Next = mergeSockets(all, q.Limit)
	slices.Sort(page.Unanswered)
	return page, nil
}

// mergeSockets makes one page of several: it ends where the first of those that have more ends.
func mergeSockets(all []socketsAnswer, limit int) (items []json.RawMessage, next protocol.SessionID) {
	type entry struct {
		id   protocol.SessionID
		item json.RawMessage
	}
	var entries []entry
	var end protocol.SessionID
	for i := range all {
		for j, id := range all[i].IDs {
			entries = append(entries, entry{id, all[i].Items[j]})
		}
		if n := len(all[i].IDs); all[i].More && n > 0 && (end == "" || all[i].IDs[n-1] < end) {
			end = all[i].IDs[n-1]
		}
	}
	slices.SortFunc(entries, func(x, y entry) int { return cmp.Compare(x.id, y.id) })
	for i := range entries {
		if len(items) == limit || end != "" && entries[i].id > end {
			return items, entries[i-1].id
		}
		items = append(items, entries[i].item)
	}
	return items, end
}

// tracesQuestion asks the gateway that holds a socket where a channel's messages spend their time on it.
type tracesQuestion struct {
	Server  protocol.ServerID `json:"server"`
	Channel protocol.Channel  `json:"channel"`
	After   uint64            `json:"after"`
}

func (p *peers) answerTraces(_ context.Context, payload []byte) ([]byte, error) {
	var q tracesQuestion
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return json.Marshal(p.gateway.Traces(protocol.Topic{Server: q.Server, Channel: q.Channel}, q.After))
}

// traces asks the gateway that holds a socket.
func (n *Node) traces(ctx context.Context, q consoleapi.TracesQuery) ([]byte, error) {
	payload, err := json.Marshal(tracesQuestion{Server: q.Server, Channel: q.Channel, After: q.After})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	answer, err := n.broker.Request(ctx, protocol.NodeOf(q.Session), verbTraces, payload)
	if errors.Is(err, broker.ErrNoGateway) {
		return nil, consoleapi.ErrNoGateway
	}
	return answer, err
}
