package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// message handles a client's message: permission, trigger, one encoding, publish.
func (s *Session) message(started time.Time, channel protocol.Channel, r *protocol.Request) {
	gw := s.gw
	ref := r.Ref
	if channel.IsPattern() {
		s.fail(channel, ref, protocol.ErrPatternSend)
		return
	}
	if s.find(channel) == nil {
		s.fail(channel, ref, protocol.ErrNotJoined)
		return
	}
	rule, _ := s.rule(channel)
	if rule == nil {
		s.fail(channel, ref, protocol.ErrChannelNotFound)
		return
	}
	identity := s.Identity()
	private := r.Socket != ""
	kind, denied := rule.AllowSend(identity, policy.Send{Authenticated: r.Authenticated, Private: private})
	if denied != nil {
		s.fail(channel, ref, denied)
		return
	}
	if !s.admitMessage(started, channel, ref, rule.RateLimit) {
		return
	}
	id := ""
	if ref != "" {
		id = refID(s.id, channel, ref, r.Key)
		if s.repeated(channel, ref, id) {
			return
		}
	} else {
		id = gw.nextID()
	}
	payload := r.Payload
	var asked time.Time
	if triggers := rule.Triggers; hasTrigger(triggers, onMessage) {
		asked = time.Now()
		ctx, cancel := context.WithDeadline(gw.ctx, started.Add(messageTriggers))
		out, rejected := gw.triggers.Message(ctx, triggers, TriggerInput{
			Server: s.server, Channel: channel, Session: s.id, Identity: identity,
			Authenticated: r.Authenticated, Recipient: protocol.SessionID(r.Socket), Payload: orNull(payload),
		})
		cancel()
		gw.metrics.stage(stageTrigger, time.Since(asked))
		if rejected != nil {
			s.settle(channel, ref, id, protocol.Receipt{}, rejected)
			return
		}
		// What a back end puts in its place has the same limit, so that nobody receives what nobody could send.
		if len(out) > gw.opts.Limits.MessageBytes {
			gw.log.Warn("trigger answered with more than limits.message_bytes", "session", s.id, "bytes", len(out))
			s.settle(channel, ref, id, protocol.Receipt{}, protocol.ErrTriggerFailed)
			return
		}
		payload = out
	}
	audience := protocol.Audience{Kind: kind}
	if private {
		audience = protocol.Audience{Kind: protocol.Socket, Session: protocol.SessionID(r.Socket)}
	}
	frame, splice := protocol.AppendMessage(make([]byte, 0, 256+len(payload)+len(identity.Extras)), channel, audience, id, s.member(), payload)
	p := &protocol.Publication{
		Server: s.server, Channel: channel, Kind: protocol.KindMessage, Audience: audience, Origin: gw.opts.Node, Sender: s.id,
		Accepted: started, ID: id, Frame: frame, Splice: splice, TTL: time.Duration(rule.HistoryTTL) * time.Second,
	}
	gw.metrics.stage(stageAccept, time.Since(started))
	if private {
		s.private(p, rule, ref)
		return
	}
	s.pending.Add(1)
	gw.publishing.Add(1)
	handed := time.Now()
	gw.broker.Publish(p, rule.History > 0, s.id, gw.tracePublish(p, asked, handed, func(receipt protocol.Receipt, err error) {
		if receipt.Position.Offset > 0 {
			gw.metrics.stage(stageStore, time.Since(handed))
		}
		gw.hub.acknowledged(p, receipt)
		s.settle(channel, ref, id, receipt, err)
		s.pending.Add(-1)
		gw.publishing.Add(-1)
	}))
}

// messageTriggers is how long the triggers of a message may take together: what is left of the publish deadline
// must do for storing it.
const messageTriggers = 8 * time.Second

// private hands a private message to the gateway that holds the recipient. It is never stored.
func (s *Session) private(p *protocol.Publication, rule *policy.Rule, ref string) {
	gw := s.gw
	only := rule.ClientPrivateMessagingAuthenticatedOnly
	var failed *protocol.Error
	switch node := protocol.NodeOf(p.Audience.Session); {
	case node == gw.opts.Node:
		failed = gw.DeliverPrivate(p, only)
	case node == "" || gw.peers == nil:
		failed = protocol.ErrRecipientNotFound
	default:
		ctx, cancel := context.WithTimeout(gw.ctx, peerTimeout)
		failed = gw.peers.Private(ctx, p, only)
		cancel()
	}
	if failed != nil {
		s.settle(p.Channel, ref, p.ID, protocol.Receipt{}, failed)
		return
	}
	s.settle(p.Channel, ref, p.ID, protocol.Receipt{ID: p.ID}, nil)
}

// peerTimeout bounds a question to another gateway.
const peerTimeout = 3 * time.Second

// DeliverPrivate gives a private message to its recipient, a session of this gateway on the same channel.
// authenticatedOnly: both ends must be authenticated (the sender has been checked).
func (g *Gateway) DeliverPrivate(p *protocol.Publication, authenticatedOnly bool) *protocol.Error {
	to := g.session(p.Audience.Session)
	if to == nil || to.server != p.Server {
		return protocol.ErrRecipientNotFound
	}
	m := to.find(p.Channel)
	if m == nil {
		return protocol.ErrRecipientNotFound
	}
	if authenticatedOnly && !to.Identity().Authenticated {
		return protocol.ErrAuthenticatedOnly
	}
	now := time.Now()
	t := m.topic
	t.mu.Lock()
	t.roomLocked()
	if m.index < 0 {
		t.mu.Unlock()
		return protocol.ErrRecipientNotFound
	}
	t.appendLocked(now, p)
	t.flushLocked(now, true)
	return nil
}

// settle answers a message: an acknowledgement for one with a ref, an error for any that failed.
func (s *Session) settle(channel protocol.Channel, ref, id string, receipt protocol.Receipt, err error) {
	times := 1
	if ref != "" {
		times = s.refDone(id, receipt, err)
	}
	for range times {
		if err != nil {
			s.fail(channel, ref, clientError(err))
		} else if ref != "" {
			s.sendFrame(func(dst []byte) []byte {
				return protocol.AppendAck(dst, channel, ref, receipt.ID, receipt.Position.Offset)
			})
		}
	}
}

// clientError is what a client is told about an error. Whatever is not meant for it becomes "internal".
func clientError(err error) *protocol.Error {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	return protocol.ErrInternal
}

// refID derives a publication's id from what the client repeats when it tries again, so that the broker knows
// it for the same one. With a key that is the key and the ref; a ref alone belongs to its socket. Nobody can
// take the id of another's message in advance: a key is known to its sender only, and ids with and without one
// never meet.
func refID(s protocol.SessionID, channel protocol.Channel, ref, key string) string {
	h := sha256.New()
	owner, kind := string(s), byte(1)
	if key != "" {
		owner, kind = key, 2
	}
	_, _ = h.Write([]byte{kind})
	for _, part := range []string{owner, string(channel), ref} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0xff})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

func orNull(payload []byte) []byte {
	if len(payload) == 0 {
		return []byte("null")
	}
	return payload
}

type triggerAction uint8

const (
	onJoin triggerAction = iota
	onMessage
)

func hasTrigger(triggers []policy.Trigger, action triggerAction) bool {
	for i := range triggers {
		if action == onJoin && triggers[i].Actions.Join || action == onMessage && triggers[i].Actions.Message {
			return true
		}
	}
	return false
}
