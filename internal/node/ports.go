package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fanfare/broker"
	"fanfare/gateway"
	"fanfare/history"
	"fanfare/internal/auth"
	"fanfare/internal/envelope"
	"fanfare/internal/policy"
	"fanfare/internal/settings"
	"fanfare/internal/trigger"
	"fanfare/presence"
	"fanfare/protocol"
)

// The packages that do not know each other meet here: each adapter below turns one of them into what the
// gateway asks for, and adds nothing but names.

type brokerPort struct {
	*broker.Broker
	history  *history.Store
	settings *settings.Store
}

func (b brokerPort) Attach(ctx context.Context, t protocol.Topic, stored bool, sink gateway.Sink) (gateway.Feed, error) {
	feed, err := b.Broker.Attach(ctx, t, stored, sink)
	if err != nil {
		return nil, err
	}
	return feed, nil
}

// Publish also tells the store what was stored, so that it trims channels to what their rule keeps.
func (b brokerPort) Publish(p *protocol.Publication, stored bool, lane protocol.SessionID, done func(protocol.Receipt, error)) {
	if !stored {
		b.Broker.Publish(p, false, lane, done)
		return
	}
	b.Broker.Publish(p, true, lane, func(r protocol.Receipt, err error) {
		b.kept(p, r, err)
		done(r, err)
	})
}

func (b brokerPort) kept(p *protocol.Publication, r protocol.Receipt, err error) {
	if err != nil || r.Duplicate {
		return
	}
	if server := b.settings.Current().ByID(p.Server); server != nil {
		if rule := server.Rule(p.Channel); rule != nil {
			b.history.Stored(p.Server, p.Channel, rule.History)
		}
	}
}

type historyPort struct{ *history.Store }

func (h historyPort) Read(ctx context.Context, t protocol.Topic, r gateway.Range, allow func(protocol.Channel) bool) (gateway.Page, error) {
	window := r.Window
	if t.Channel.IsPattern() {
		window = 0 // a pattern's window would be one for all its channels
	}
	page, err := h.Store.Read(ctx, t, history.Range{
		Limit: r.Limit, Before: r.Before, HasBefore: r.HasBefore, After: r.After, HasAfter: r.HasAfter, UpTo: r.UpTo, Since: r.Since,
		NotBefore: later(r.NotBefore, notBefore(r.MaxAge)), Window: window, Authenticated: r.Authenticated, AimedApart: r.AimedApart, Allow: allow,
	})
	if err != nil {
		return gateway.Page{}, fmt.Errorf("read history of %s: %w", t.Channel, err)
	}
	return gateway.Page{Publications: page.Publications, More: page.More}, nil
}

func (h historyPort) Resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, most int, maxAge time.Duration) ([]*protocol.Publication, bool, error) {
	pubs, whole, err := h.Store.ResumeWithin(ctx, t, from, upTo, most, notBefore(maxAge))
	if err != nil {
		return nil, false, fmt.Errorf("resume %s: %w", t.Channel, err)
	}
	return pubs, whole, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// notBefore is when what is at most maxAge old was stored; zero without an age limit.
func notBefore(maxAge time.Duration) time.Time {
	if maxAge <= 0 {
		return time.Time{}
	}
	return time.Now().Add(-maxAge)
}

type presencePort struct{ *presence.Directory }

func (p presencePort) Watch(ctx context.Context, t protocol.Topic, sink gateway.PresenceSink) (func(), error) {
	w, err := p.Directory.Watch(ctx, t, presenceSink{sink})
	if err != nil {
		return nil, fmt.Errorf("watch presence of %s: %w", t.Channel, err)
	}
	return w.Stop, nil
}

type presenceSink struct{ to gateway.PresenceSink }

func (s presenceSink) Changed(changes []presence.Change) {
	out := make([]gateway.PresenceChange, len(changes))
	for i, c := range changes {
		out[i] = gateway.PresenceChange{Channel: c.Channel, Session: c.Session, Entry: c.Value, Action: presenceActions[c.Kind]}
	}
	s.to.Changed(out)
}

var presenceActions = map[presence.ChangeKind]protocol.PresenceAction{ //nolint:gochecknoglobals // a constant table
	presence.Join: protocol.PresenceJoin, presence.Update: protocol.PresenceUpdate, presence.Leave: protocol.PresenceLeave,
}

type authPort struct{ *auth.Verifier }

func (a authPort) Authenticate(ctx context.Context, token string) (protocol.Identity, error) {
	id, err := a.Verifier.Authenticate(ctx, token)
	switch {
	case errors.Is(err, auth.ErrExpired):
		err = fmt.Errorf("%w: %w", gateway.ErrTokenExpired, err)
	case errors.Is(err, auth.ErrKeysUnavailable):
		err = fmt.Errorf("%w: %w", gateway.ErrAuthUnavailable, err)
	}
	return id, err
}

type triggerPort struct{ caller *trigger.Caller }

func (t triggerPort) Join(ctx context.Context, triggers []policy.Trigger, in gateway.TriggerInput) *protocol.Error {
	_, err := t.caller.Join(ctx, triggers, triggerInput(in))
	return triggerError(err)
}

func (t triggerPort) Message(ctx context.Context, triggers []policy.Trigger, in gateway.TriggerInput) (json.RawMessage, *protocol.Error) {
	payload, _, err := t.caller.Message(ctx, triggers, triggerInput(in))
	return payload, triggerError(err)
}

func triggerInput(in gateway.TriggerInput) trigger.Input {
	return trigger.Input{
		Server: in.Server, Channel: in.Channel, Session: in.Session, Identity: *in.Identity,
		Authenticated: in.Authenticated, Recipient: in.Recipient, Payload: in.Payload,
	}
}

func triggerError(err error) *protocol.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	return protocol.ErrTriggerFailed
}

// Verbs of questions between gateways.
const (
	verbPrivate    = "private"
	verbDisconnect = "disconnect"
	verbOccupancy  = "occupancy"
	verbLoad       = "load"
	verbSockets    = "sockets"
	verbTraces     = "traces"
)

// peers asks other gateways, and answers them.
type peers struct {
	self      protocol.NodeID
	broker    *broker.Broker
	directory *presence.Directory
	gateway   *gateway.Gateway
}

// privateAnswer is what a gateway says about a private message; empty = delivered.
type privateAnswer struct {
	Code    protocol.Code `json:"code,omitempty"`
	Message string        `json:"message,omitempty"`
}

func (p *peers) Private(ctx context.Context, pub *protocol.Publication, authenticatedOnly bool) *protocol.Error {
	payload := envelope.Append([]byte{0}, pub)
	if authenticatedOnly {
		payload[0] = 1
	}
	answer, err := p.broker.Request(ctx, protocol.NodeOf(pub.Audience.Session), verbPrivate, payload)
	switch {
	case errors.Is(err, broker.ErrNoGateway):
		return protocol.ErrRecipientNotFound
	case err != nil:
		return protocol.ErrUnavailable
	}
	var a privateAnswer
	if err := json.Unmarshal(answer, &a); err != nil {
		return protocol.ErrInternal
	}
	if a.Code != "" {
		return &protocol.Error{Code: a.Code, Message: a.Message}
	}
	return nil
}

func (p *peers) answerPrivate(_ context.Context, payload []byte) ([]byte, error) {
	if len(payload) < 1 {
		return nil, errors.New("private: empty question")
	}
	var pub protocol.Publication
	if err := envelope.Decode(payload[1:], &pub); err != nil {
		return nil, fmt.Errorf("private: %w", err)
	}
	pub.Frame = append([]byte(nil), pub.Frame...)
	var a privateAnswer
	if failed := p.gateway.DeliverPrivate(&pub, payload[0] == 1); failed != nil {
		a = privateAnswer{Code: failed.Code, Message: failed.Message}
	}
	return json.Marshal(a)
}

// disconnectQuestion asks a gateway to end sockets.
type disconnectQuestion struct {
	Server  protocol.ServerID  `json:"server"`
	Session protocol.SessionID `json:"session,omitempty"`
	DboID   int64              `json:"dbo_id,omitempty"`
	RowID   protocol.RowID     `json:"row_id,omitempty"`
}

func (p *peers) answerDisconnect(_ context.Context, payload []byte) ([]byte, error) {
	var q disconnectQuestion
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, fmt.Errorf("disconnect: %w", err)
	}
	return json.Marshal(p.gateway.Disconnect(q.Server, q.Session, q.DboID, q.RowID))
}

func (p *peers) answerOccupancy(_ context.Context, payload []byte) ([]byte, error) {
	var server protocol.ServerID
	if err := json.Unmarshal(payload, &server); err != nil {
		return nil, fmt.Errorf("occupancy: %w", err)
	}
	return json.Marshal(p.gateway.Occupancy(server))
}

// others are the gateways alive besides this one.
func (p *peers) others(self protocol.NodeID) []protocol.NodeID {
	var out []protocol.NodeID
	for _, n := range p.directory.Nodes() {
		if n.ID != self {
			out = append(out, n.ID)
		}
	}
	return out
}

// peerTimeout bounds questions to all gateways.
const peerTimeout = 3 * time.Second
