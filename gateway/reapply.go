package gateway

import (
	"context"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Reapply brings sockets and memberships in line with changed settings: sockets of an address that is gone are
// ended, members that are no longer allowed are removed with an error, and topics follow their rule. It is
// called for each change, in order.
func (g *Gateway) Reapply(old, now *policy.Book) {
	for _, was := range old.Servers() {
		is := now.ByID(was.ID)
		if was.Enabled && (is == nil || !is.Enabled || is.Hash != was.Hash) {
			g.endServer(was.ID)
		}
	}
	g.hub.each(func(t *topic) { g.reapplyTopic(t, now) })
}

// endServer sends every socket of a realtime server away for good.
func (g *Gateway) endServer(id protocol.ServerID) {
	for _, s := range g.Sessions(func(s *Session) bool { return s.server == id }) {
		s.fail("", "", protocol.ErrUnknownHash)
		s.close(protocol.CloseGoAway, "unknown connection hash", reasonHash)
	}
}

func (g *Gateway) reapplyTopic(t *topic, book *policy.Book) {
	var rule *policy.Rule
	if server := book.ByID(t.key.Server); server != nil && server.Enabled {
		rule = server.Rule(t.key.Channel)
	}
	was := t.rule.Load()
	if rule != nil {
		g.switchRule(t, was, rule)
	}
	t.mu.Lock()
	members := append([]*subscription(nil), t.members...)
	t.mu.Unlock()
	for _, m := range members {
		m.recheck(rule)
	}
}

// recheck removes a member that its rule no longer admits; nil = no rule covers the channel.
func (m *subscription) recheck(rule *policy.Rule) {
	s, channel := m.session, m.topic.key.Channel
	if rule == nil {
		s.expel(m, &protocol.Error{Code: protocol.CodeRemoved, Message: protocol.ErrChannelNotFound.Message})
	} else if denied := rule.AllowJoin(s.Identity(), channel.IsPattern()); denied != nil {
		s.expel(m, denied)
	}
}

// recheck is for a join during which the settings changed.
func (g *Gateway) recheck(s *Session, m *subscription) {
	rule, _ := s.rule(m.topic.key.Channel)
	if rule != nil && rule != m.topic.rule.Load() {
		g.switchRule(m.topic, m.topic.rule.Load(), rule)
	}
	m.recheck(rule)
}

// switchRule lets a topic follow a changed rule.
func (g *Gateway) switchRule(t *topic, was, rule *policy.Rule) {
	t.mu.Lock()
	t.rule.Store(rule)
	feedChanges := (was.History > 0) != (rule.History > 0)
	if was.History != rule.History || was.ID != rule.ID {
		t.setHistory(rule)
		t.ring.reset(t.position.Offset)
	}
	var stop func()
	if was.Presence && !rule.Presence {
		// The lists end; their owners are not told more, the remaining clients see no one.
		for _, m := range t.members {
			g.presence.Delete(t.key, m.session.id)
			m.presence.Store(false)
		}
		stop = t.stopView
		t.roster, t.stopView = nil, nil
	} else if !was.Presence && rule.Presence && !t.pattern() {
		for _, m := range t.members {
			t.announceLocked(m, protocol.PresenceJoin)
		}
	}
	t.mu.Unlock()
	if stop != nil {
		stop()
	}
	if feedChanges {
		ctx, cancel := context.WithTimeout(g.ctx, attachTimeout)
		defer cancel()
		if err := t.feed.SetStored(ctx, rule.History > 0); err != nil {
			g.log.Warn("history of a channel cannot be switched", "channel", t.key.Channel, "err", err)
		}
	}
}

// becomeAnonymous is what happens to a live socket whose token has run out: it says so, stays open, and loses
// the channels that anonymous clients may not be on. In presence lists its entry is replaced.
func (s *Session) becomeAnonymous() {
	s.work.Lock()
	defer s.work.Unlock()
	was := s.Identity()
	if !was.Authenticated {
		return
	}
	s.fail("", "", &protocol.Error{Code: protocol.CodeTokenExpired, Message: "Authentication expired."})
	s.mu.Lock()
	subs := append([]*subscription(nil), s.subs...)
	s.mu.Unlock()
	s.identity.Store(&s.gw.anonymous)
	for _, m := range subs {
		rule := m.topic.rule.Load()
		if denied := rule.AllowJoin(s.Identity(), m.topic.key.Channel.IsPattern()); denied != nil {
			s.expel(m, denied)
			continue
		}
		// Stock clients know joins and leaves only.
		t := m.topic
		t.mu.Lock()
		if m.index >= 0 {
			t.announceLocked(m, protocol.PresenceLeave)
			t.announceLocked(m, protocol.PresenceJoin)
		}
		if t.batch.empty() {
			t.mu.Unlock()
		} else {
			t.flushLocked(time.Now(), false)
		}
	}
}
