package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fanfare/broker"
	"fanfare/gateway"
	"fanfare/history"
	"fanfare/internal/api"
	"fanfare/presence"
	"fanfare/protocol"
)

// backend answers the server API: what a back end asks concerns all gateways.
type backend struct{ *Node }

var _ api.Backend = (*backend)(nil)

func (b *backend) publication(e *api.Event) *protocol.Publication {
	return &protocol.Publication{
		Server: e.Server.ID, Channel: e.Channel, Audience: e.Audience, ID: e.ID,
		TTL: time.Duration(e.Rule.HistoryTTL) * time.Second,
	}
}

// outcome is what a publish ended with.
type outcome struct {
	receipt protocol.Receipt
	err     error
}

func (b *backend) begin(e *api.Event) <-chan outcome {
	p := b.publication(e)
	answered := make(chan outcome, 1)
	done := func(r protocol.Receipt, err error) {
		if errors.Is(err, broker.ErrOffset) {
			err = api.ErrOffsetConflict
		}
		answered <- outcome{r, err}
	}
	if e.ExpectOffset != nil {
		b.gateway.PublishExpecting(p, e.Data, func(p *protocol.Publication, done func(protocol.Receipt, error)) {
			b.broker.PublishExpecting(p, "", *e.ExpectOffset, func(r protocol.Receipt, err error) {
				brokerPort{b.broker, b.history, b.settings}.kept(p, r, err)
				done(r, err)
			})
		}, done)
	} else {
		b.gateway.Publish(p, e.Data, e.Store, done)
	}
	return answered
}

func wait(ctx context.Context, answered <-chan outcome) (protocol.Receipt, error) {
	select {
	case o := <-answered:
		return o.receipt, o.err
	case <-ctx.Done():
		return protocol.Receipt{}, protocol.ErrUnknownOutcome
	}
}

func (b *backend) Publish(ctx context.Context, e api.Event) (protocol.Receipt, error) {
	return wait(ctx, b.begin(&e))
}

func (b *backend) PublishBatch(ctx context.Context, events []api.Event, atomic bool) ([]api.Result, error) {
	if atomic {
		return b.publishAtomic(ctx, events)
	}
	// Events for one channel go one after the other, so that they are stored in their order; channels do not wait
	// for each other.
	results := make([]api.Result, len(events))
	waiting := make(map[protocol.Channel]int, len(events))
	pending := make([]<-chan outcome, len(events))
	settle := func(i int) { results[i].Receipt, results[i].Err = wait(ctx, pending[i]) }
	for i := range events {
		if before, ok := waiting[events[i].Channel]; ok && events[before].Store {
			settle(before)
			pending[before] = nil
		}
		pending[i] = b.begin(&events[i])
		waiting[events[i].Channel] = i
	}
	for i := range pending {
		if pending[i] != nil {
			settle(i)
		}
	}
	return results, nil
}

func (b *backend) Channels(ctx context.Context, q api.ChannelsQuery) (api.ChannelsPage, error) {
	all := b.gateway.Occupancy(q.Server.ID)
	if others := b.peers.others(b.id); len(others) > 0 {
		payload, _ := json.Marshal(q.Server.ID)
		answers, err := b.broker.RequestAll(ctx, verbOccupancy, payload, others)
		if err != nil {
			return api.ChannelsPage{}, unavailable(ctx, err)
		}
		for _, a := range answers {
			var there map[protocol.Channel]int
			if err := json.Unmarshal(a, &there); err != nil {
				return api.ChannelsPage{}, fmt.Errorf("answer of another gateway: %w", err)
			}
			for c, n := range there {
				all[c] += n
			}
		}
	}
	var page api.ChannelsPage
	if q.Names != nil {
		for _, c := range q.Names {
			page.Items = append(page.Items, api.ChannelState{Channel: c, Occupancy: all[c]})
		}
		return page, nil
	}
	for c, n := range all {
		if strings.HasPrefix(string(c), q.Prefix) && c > q.After {
			page.Items = append(page.Items, api.ChannelState{Channel: c, Occupancy: n})
		}
	}
	slices.SortFunc(page.Items, func(x, y api.ChannelState) int { return cmp.Compare(x.Channel, y.Channel) })
	if len(page.Items) > q.Limit {
		page.Items, page.More = page.Items[:q.Limit], true
	}
	return page, nil
}

func (b *backend) Presence(ctx context.Context, q api.PresenceQuery) (api.PresencePage, error) {
	page, err := b.presence.Snapshot(ctx, protocol.Topic{Server: q.Server.ID, Channel: q.Channel}, q.Limit, q.After)
	if errors.Is(err, presence.ErrCursor) {
		return api.PresencePage{}, api.ErrCursor
	}
	if err != nil {
		return api.PresencePage{}, fmt.Errorf("presence of %s: %w", q.Channel, unavailable(ctx, err))
	}
	out := api.PresencePage{Next: page.Next}
	for _, m := range page.Members {
		entry := m.Value
		if q.Channel.IsPattern() {
			if !sameRuleID(b, q, m.Channel) {
				continue
			}
			entry = append(protocol.AppendSource(append([]byte(nil), entry[:len(entry)-1]...), m.Channel), '}')
		}
		out.Items = append(out.Items, entry)
	}
	return out, nil
}

func sameRuleID(_ *backend, q api.PresenceQuery, c protocol.Channel) bool {
	rule := q.Server.Rule(c)
	return rule != nil && q.Rule != nil && rule.ID == q.Rule.ID
}

func (b *backend) History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error) {
	r := history.Range{Limit: q.Limit, Since: q.Since, Authenticated: true, NotBefore: q.Rule.KeptSince(time.Now())}
	pattern := q.Channel.IsPattern()
	if pattern {
		r.Allow = func(c protocol.Channel) bool {
			rule := q.Server.Rule(c)
			return rule != nil && rule.ID == q.Rule.ID
		}
	} else {
		r.Window = q.Rule.History
	}
	if q.Before != nil {
		r.Before, r.HasBefore = *q.Before, true
	}
	if q.After != nil {
		r.After, r.HasAfter = *q.After, true
	}
	page, err := b.history.Read(ctx, protocol.Topic{Server: q.Server.ID, Channel: q.Channel}, r)
	if errors.Is(err, history.ErrUnavailable) {
		err = unavailable(ctx, err)
	}
	if err != nil {
		return api.HistoryPage{}, fmt.Errorf("history of %s: %w", q.Channel, err)
	}
	out := api.HistoryPage{
		More: page.More, Frames: make([]json.RawMessage, 0, len(page.Publications)),
		Times: make([]time.Time, 0, len(page.Publications)),
	}
	for _, p := range page.Publications {
		out.Times = append(out.Times, p.Accepted.UTC())
		if pattern {
			out.Frames = append(out.Frames, protocol.AppendForPattern(nil, p, q.Channel))
		} else {
			out.Frames = append(out.Frames, protocol.AppendPublication(nil, p))
		}
	}
	return out, nil
}

func (b *backend) Disconnect(ctx context.Context, q api.DisconnectQuery) (int, error) {
	n := b.gateway.Disconnect(q.Server.ID, q.Session, q.DboID, q.RowID)
	others := b.peers.others(b.id)
	if len(others) == 0 {
		return n, nil
	}
	payload, err := json.Marshal(disconnectQuestion{Server: q.Server.ID, Session: q.Session, DboID: q.DboID, RowID: q.RowID})
	if err != nil {
		return n, fmt.Errorf("disconnect: %w", err)
	}
	answers, err := b.broker.RequestAll(ctx, verbDisconnect, payload, others)
	if err != nil {
		return n, unavailable(ctx, err)
	}
	for _, a := range answers {
		var there int
		if err := json.Unmarshal(a, &there); err != nil {
			return n, fmt.Errorf("answer of another gateway: %w", err)
		}
		n += there
	}
	return n, nil
}

// unavailable makes it the broker's fault that nothing came, unless who asked has gone away meanwhile.
func unavailable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}

var _ gateway.Sink = broker.Sink(nil)
