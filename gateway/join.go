package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// joinTimeout bounds everything a join waits for besides its triggers.
const joinTimeout = 10 * time.Second

// joinTriggers is how long the triggers of a join may take together: as long as one of them may.
const joinTriggers = 30 * time.Second

// join handles a join: trigger, permission, membership, and then what the client asked for, in the order join
// answer, presence_full, history, missed frames, live frames. A second join of the same channel changes nothing
// for others and is answered again.
func (s *Session) join(channel protocol.Channel, ref string, payload []byte) {
	gw := s.gw
	ask, failed := protocol.DecodeJoin(payload)
	if failed != nil {
		s.fail(channel, ref, failed)
		return
	}
	if m := s.find(channel); m != nil {
		s.welcome(m, ask, true)
		return
	}
	rule, book := s.rule(channel)
	if rule == nil {
		s.refuseJoin(channel, ref, protocol.ErrChannelNotFound)
		return
	}
	identity := s.Identity()
	denied := rule.AllowJoin(identity, channel.IsPattern())
	// The trigger runs whether or not the client would be allowed, and can only refuse (xano-realtime.md 12.18).
	if hasTrigger(rule.Triggers, onJoin) {
		asked := time.Now()
		in, _ := json.Marshal(map[string]bool{"history": ask.History, "presence": ask.Presence})
		ctx, cancel := context.WithTimeout(gw.ctx, joinTriggers)
		rejected := gw.triggers.Join(ctx, rule.Triggers, TriggerInput{
			Server: s.server, Channel: channel, Session: s.id, Identity: identity, Payload: in,
		})
		cancel()
		gw.metrics.stage(stageTrigger, time.Since(asked))
		if denied == nil {
			denied = rejected
		}
	}
	if denied != nil {
		s.refuseJoin(channel, ref, denied)
		return
	}
	s.mu.Lock()
	full := len(s.subs) >= gw.opts.Limits.Channels
	s.mu.Unlock()
	if full {
		s.refuseJoin(channel, ref, &protocol.Error{
			Code:    protocol.CodeTooManyChannels,
			Message: fmt.Sprintf("A client can join at most %d channels.", gw.opts.Limits.Channels),
		})
		return
	}
	t, err := gw.hub.enter(protocol.Topic{Server: s.server, Channel: channel}, rule)
	if err != nil {
		gw.log.Warn("channel cannot be opened", "session", s.id, "err", err)
		s.refuseJoin(channel, ref, &protocol.Error{Code: protocol.CodeUnavailable, Message: "The channel cannot be opened now. Try again later."})
		return
	}
	if t.rule.Load() != rule { // opened by an earlier join, or the settings changed meanwhile
		gw.follow(t)
	}
	m := &subscription{session: s, topic: t, index: -1}
	s.mu.Lock()
	if s.ended || s.ending {
		s.mu.Unlock()
		t.leave()
		return
	}
	s.subs = append(s.subs, m)
	s.mu.Unlock()
	s.welcome(m, ask, false)
	// The settings may have changed while the join was under way, after their change was applied to members.
	if gw.settings.Current() != book {
		m.recheck(gw.follow(t))
	}
}

func (s *Session) refuseJoin(channel protocol.Channel, ref string, e *protocol.Error) {
	s.gw.metrics.joins.WithLabelValues("refused").Inc()
	s.fail(channel, ref, e)
}

// welcome makes m a member unless it is one, and gives it what it asked for. Live frames are held back until
// everything else is out.
func (s *Session) welcome(m *subscription, ask protocol.Join, again bool) {
	gw, t := s.gw, m.topic
	rule := t.rule.Load()
	wantsPresence, noPresence := ask.Presence && rule.Presence, false
	ctx := gw.ctx
	if wantsPresence || ask.Resume || ask.History { // otherwise nothing waits
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(gw.ctx, joinTimeout)
		defer cancel()
	}
	if wantsPresence {
		if err := t.openRoster(ctx); err != nil {
			gw.log.Warn("presence of a channel cannot be read", "session", s.id, "err", err)
			wantsPresence, noPresence = false, true
		}
	}
	if ask.Resume && t.comparable(ask) { // the client may have seen what is still on its way to this node
		t.catchUp(ctx, ask.From.Offset)
	}
	now := time.Now()
	t.mu.Lock()
	t.roomLocked()
	if again {
		t.settleLocked()
	}
	if again && m.index < 0 { // taken away meanwhile, by a change of settings
		t.mu.Unlock()
		return
	}
	var before []byte // live frames that belong before the answers to a repeated join
	if again {
		before = t.beginAgainLocked(m)
	}
	h := &hold{}
	if t.pattern() && (ask.History || ask.Resume) {
		h.first = make(map[protocol.Channel]uint64)
		t.held = append(t.held, h)
	}
	m.hold.Store(h)
	wantsPresence = wantsPresence && t.roster != nil
	m.presence.Store(m.presence.Load() || wantsPresence)
	if m.asked = m.asked || ask.Presence; m.asked && !m.presence.Load() && t.rule.Load().Presence {
		t.owed.Store(true) // it was switched on meanwhile, or could not be read
	}
	if !again {
		t.announceLocked(m, protocol.PresenceJoin)
		t.addLocked(m)
		m.joined = now.UnixMilli()
		m.recordJoin()
	}
	m.start = t.position.Offset
	position, stored := t.placeLocked(), t.stored && !t.pattern()
	var list [][]byte
	if wantsPresence {
		list = t.roster.snapshot()
		t.roster.unwatched = 0
	}
	if t.batch.empty() {
		t.mu.Unlock()
	} else {
		t.flushLocked(now, false)
	}
	defer m.release()
	if len(before) > 0 {
		_ = s.conn.write(before)
	}
	var missed []*protocol.Publication
	resumed := protocol.ResumeNotAsked
	if ask.Resume {
		resumed = protocol.ResumedNot
		if stored {
			var whole bool
			if missed, whole = t.missed(ctx, ask, position); whole {
				resumed = protocol.ResumedWhole
			}
		}
	}
	s.sendFrame(func(dst []byte) []byte {
		return protocol.AppendJoin(dst, t.key.Channel, s.member(), stored, position, resumed)
	})
	if noPresence { // behind the join answer: an error before it would be one about the join
		s.fail(t.key.Channel, "", &protocol.Error{Code: protocol.CodeUnavailable, Message: "Presence is not available now."})
	}
	if wantsPresence {
		s.sendPresenceFull(t.key.Channel, list)
	}
	if ask.History || resumed == protocol.ResumedNot {
		s.sendHistory(ctx, t, rule, protocol.HistoryRequest{}, position.Offset, h)
	}
	s.sendMissed(missed)
	outcome := "accepted"
	if again {
		outcome = "repeated"
	}
	gw.metrics.joins.WithLabelValues(outcome).Inc()
}

// sendPresenceFull sends the list of members; entries are shared and not copied when they are many.
func (s *Session) sendPresenceFull(channel protocol.Channel, entries [][]byte) {
	head := protocol.AppendPresenceFullHead(nil, channel)
	n := len(head) + len(protocol.PresenceFullTail)
	for _, part := range entries {
		n += len(part)
	}
	parts := make([][]byte, 0, len(entries)+2)
	parts = append(parts, append(appendTextHeader(make([]byte, 0, 10+len(head)), n), head...))
	parts = append(append(parts, entries...), []byte(protocol.PresenceFullTail))
	_ = s.conn.writeShared(parts...)
}

// comparable tells whether a client's offset may be one of the topic's present sequence.
func (t *topic) comparable(ask protocol.Join) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !ask.EpochGiven || ask.From.Epoch == t.placeLocked().Epoch
}

// placeLocked is the topic's position as clients are told: an interruption of the history makes another epoch, as
// offsets from before do not tell what was sent meanwhile. t.mu is held.
func (t *topic) placeLocked() protocol.Position {
	return protocol.Position{Epoch: t.position.Epoch + t.rule.Load().Mark(), Offset: t.position.Offset}
}

// missed gives what was stored after the position the client knows, when it can be proved that nothing of it
// is gone.
func (t *topic) missed(ctx context.Context, ask protocol.Join, upTo protocol.Position) ([]*protocol.Publication, bool) {
	from := ask.From
	if ask.EpochGiven && from.Epoch != upTo.Epoch || from.Offset > upTo.Offset {
		return nil, false
	}
	ttl := maxAge(t.rule.Load())
	if ask.EpochGiven && from.Offset == upTo.Offset && ttl == 0 {
		return nil, true
	}
	t.mu.Lock()
	if ask.EpochGiven {
		from.Epoch = t.position.Epoch // without the mark
	}
	pubs, ok := t.ring.after(from.Offset)
	// Without an epoch only the publication itself proves that the offset is one of this sequence.
	boundary := t.rule.Load().KeptFrom()
	ok = ok && (ask.EpochGiven || t.ring.has(from.Offset) && t.ring.young(from.Offset, boundary)) && (ttl == 0 || t.ring.young(from.Offset, time.Now().Add(-ttl)))
	pubs = append([]*protocol.Publication(nil), pubs...)
	t.mu.Unlock()
	if ok {
		for len(pubs) > 0 && pubs[len(pubs)-1].Offset > upTo.Offset {
			pubs = pubs[:len(pubs)-1]
		}
		return pubs, true
	}
	if !ask.EpochGiven && !boundary.IsZero() {
		return nil, false // nothing tells on which side of the interruption the offset lies
	}
	pubs, whole, err := t.hub.gw.history.Resume(ctx, t.key, from, upTo.Offset, resumeMax, ttl)
	if err != nil {
		t.hub.gw.log.Warn("missed messages cannot be read", "err", err)
		return nil, false
	}
	return pubs, whole
}

// resumeMax is the most a resume replays: all that a channel's history can hold.
const resumeMax = 1000

// sendMissed sends missed publications as ordinary frames, those the session may see.
func (s *Session) sendMissed(pubs []*protocol.Publication) {
	identity := s.Identity()
	var out []byte
	for _, p := range pubs {
		if !mayRead(identity, s.id, p) {
			continue
		}
		out = appendTextHeader(out, protocol.PublicationLen(p))
		out = protocol.AppendPublication(out, p)
		if len(out) > 64<<10 {
			_ = s.conn.writeShared(out)
			out = nil
		}
	}
	if len(out) > 0 {
		_ = s.conn.writeShared(out)
	}
}

// mayRead tells whether a stored publication is for this reader.
func mayRead(identity *protocol.Identity, id protocol.SessionID, p *protocol.Publication) bool {
	switch p.Audience.Kind {
	case protocol.Authenticated:
		return identity.Authenticated
	case protocol.User:
		return identity.Same(p.Audience.DboID, p.Audience.RowID)
	case protocol.Socket:
		return p.Audience.Session == id
	default:
		return true
	}
}

// history handles a history request.
func (s *Session) history(channel protocol.Channel, ref string, payload []byte) {
	ask, failed := protocol.DecodeHistory(payload)
	if failed != nil {
		s.fail(channel, ref, failed)
		return
	}
	m := s.find(channel)
	if m == nil {
		s.fail(channel, ref, protocol.ErrNotJoined)
		return
	}
	ctx, cancel := context.WithTimeout(s.gw.ctx, joinTimeout)
	defer cancel()
	s.sendHistory(ctx, m.topic, m.topic.rule.Load(), ask, 0, nil)
}

// sendHistory answers with stored publications up to an offset (0 = the newest). joining is the hold of a member
// that joins; nil for one that is there.
func (s *Session) sendHistory(ctx context.Context, t *topic, rule *policy.Rule, ask protocol.HistoryRequest, upTo uint64, joining *hold) {
	var pubs []*protocol.Publication
	var more bool
	var err error
	if joining == nil || upTo > 0 || t.pattern() { // otherwise nothing was stored when the member began
		pubs, more, err = t.read(ctx, s, rule, ask, upTo)
	}
	if joining != nil && joining.first != nil {
		pubs = t.notLive(joining, pubs)
	}
	if err != nil {
		s.gw.log.Warn("history cannot be read", "session", s.id, "err", err)
		e := &protocol.Error{Code: protocol.CodeUnavailable, Message: "History is not available now."}
		if errors.Is(err, context.DeadlineExceeded) {
			e.RetryAfter = 1
		}
		s.fail(t.key.Channel, "", e)
		return
	}
	paged := protocol.HistoryUnpaged
	if ask.Paged {
		if paged = protocol.HistoryNoMore; more {
			paged = protocol.HistoryHasMore
		}
	}
	frame := appendText(nil, func(dst []byte) []byte { return protocol.AppendHistory(dst, t.key.Channel, pubs, paged) })
	_ = s.conn.writeShared(frame)
}

// presenceUpdate changes the member's own presence data.
func (s *Session) presenceUpdate(channel protocol.Channel, ref string, payload []byte) {
	data, failed := protocol.DecodePresenceData(payload, s.gw.opts.Limits.PresenceData)
	m := s.find(channel)
	switch {
	case failed != nil:
		s.fail(channel, ref, failed)
		return
	case m == nil || channel.IsPattern():
		s.fail(channel, ref, protocol.ErrNotJoined)
		return
	}
	t := m.topic
	if !t.rule.Load().Presence {
		s.fail(channel, ref, protocol.ErrPresenceDisabled)
		return
	}
	now := time.Now()
	t.mu.Lock()
	t.roomLocked()
	if m.index < 0 {
		t.mu.Unlock()
		return
	}
	m.data = append(json.RawMessage(nil), data...)
	t.announceLocked(m, protocol.PresenceUpdate)
	if t.batch.empty() {
		t.mu.Unlock()
		return
	}
	t.flushLocked(now, false)
}
