package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fanfare/gateway"
	"fanfare/internal/api"
	"fanfare/internal/policy"
	"fanfare/lifecycle"
	"fanfare/protocol"
)

// newLifecycle builds the record of comings and goings; nil when it is off: then nothing is created or written.
func (n *Node) newLifecycle() (*lifecycle.Log, error) {
	if n.cfg.Lifecycle.Retention == 0 {
		return nil, nil //nolint:nilnil // off is not an error
	}
	return lifecycle.New(lifecycle.Options{
		Control: n.client.Control(), Reads: n.client.Reads()[0], Node: n.id, Replicas: n.cfg.NATS.Replicas,
		Retention: n.cfg.Lifecycle.Retention, Keeper: n.presence.Janitor,
		Alive: func() []protocol.NodeID {
			var out []protocol.NodeID
			for _, p := range n.presence.Nodes() {
				out = append(out, p.ID)
			}
			return out
		},
		Webhooks: n.lifecycleWebhooks, Deliver: n.deliverLifecycle,
		Registerer: n.reg, Logger: n.log,
	})
}

func (n *Node) lifecycleWebhooks() []lifecycle.Webhook {
	var out []lifecycle.Webhook
	for _, s := range n.settings.Current().Servers() {
		for i := range s.LifecycleWebhooks {
			if s.Enabled {
				out = append(out, lifecycle.Webhook{Server: s.ID, URL: s.LifecycleWebhooks[i].URL})
			}
		}
	}
	return out
}

// lifecycleDelivery is the body of a call to a lifecycle webhook.
type lifecycleDelivery struct {
	Server protocol.ServerID `json:"server"`
	// Restart: events before these are no longer kept; what is known is to be forgotten.
	Restart bool                 `json:"restart,omitempty"`
	Events  []api.LifecycleEvent `json:"events"`
}

var errNoWebhook = errors.New("webhook is no longer in the settings")

// deliverLifecycle makes one call, with the secrets as they are now.
func (n *Node) deliverLifecycle(ctx context.Context, w lifecycle.Webhook, d lifecycle.Delivery) error {
	server := n.settings.Current().ByID(w.Server)
	if server == nil {
		return errNoWebhook
	}
	for i := range server.LifecycleWebhooks {
		hook := &server.LifecycleWebhooks[i]
		if hook.URL != w.URL {
			continue
		}
		body, err := json.Marshal(lifecycleDelivery{Server: w.Server, Restart: d.Restart, Events: lifecycleEvents(d.Entries)})
		if err != nil {
			return fmt.Errorf("lifecycle webhook: %w", err)
		}
		return n.caller.Deliver(ctx, hook.URL, hook.Secret, d.ID, body)
	}
	return errNoWebhook
}

// lifecyclePort lets the gateway record.
type lifecyclePort struct{ *lifecycle.Log }

func (p lifecyclePort) Disconnected(server protocol.ServerID, s protocol.SessionID, why gateway.LeaveReason) {
	p.Log.Disconnected(server, s, lifecycle.Reason(why))
}

func (p lifecyclePort) Joined(t protocol.Topic, s protocol.SessionID, id *protocol.Identity) {
	p.Log.Joined(t.Server, t.Channel, s, id)
}

func (p lifecyclePort) Left(t protocol.Topic, s protocol.SessionID, why gateway.LeaveReason) {
	p.Log.Left(t.Server, t.Channel, s, lifecycle.Reason(why))
}

// lifecycleReader lets the API read.
type lifecycleReader struct{ log *lifecycle.Log }

func (r lifecycleReader) Read(ctx context.Context, server *policy.Server, after string, limit int, wait bool) (api.LifecyclePage, error) {
	entries, next, err := r.log.Read(ctx, server.ID, after, limit, wait)
	switch {
	case errors.Is(err, lifecycle.ErrCursor):
		return api.LifecyclePage{}, api.ErrCursor
	case errors.Is(err, lifecycle.ErrCursorExpired):
		return api.LifecyclePage{}, api.ErrCursorExpired
	case errors.Is(err, lifecycle.ErrUnavailable):
		return api.LifecyclePage{}, unavailable(ctx, err)
	case err != nil:
		return api.LifecyclePage{}, err
	}
	return api.LifecyclePage{Next: next, Items: lifecycleEvents(entries)}, nil
}

func lifecycleEvents(entries []lifecycle.Entry) []api.LifecycleEvent {
	out := make([]api.LifecycleEvent, len(entries))
	for i := range entries {
		e := &entries[i]
		out[i] = api.LifecycleEvent{
			Cursor: e.Cursor, Type: api.LifecycleType(e.Type), Time: time.UnixMilli(e.At).UTC(), Channel: e.Channel,
			Client: e.Client, Reason: string(e.Reason), Repeated: e.Repeated, Gateway: e.Gateway,
		}
	}
	return out
}
