package gateway

import (
	"context"
	"fmt"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Reapply brings sockets and memberships in line with changed settings: sockets of an address that is gone are
// ended, members that are no longer allowed are removed with an error, and topics follow their rule. It is
// called for each change, after Settings.Current gives it.
func (g *Gateway) Reapply(old, now *policy.Book) {
	for _, was := range old.Servers() {
		is := now.ByID(was.ID)
		if was.Enabled && (is == nil || !is.Enabled || is.Hash != was.Hash) {
			g.endServer(was.ID)
		}
	}
	g.hub.each(g.reapplyTopic)
}

// endServer sends every socket of a realtime server away for good.
func (g *Gateway) endServer(id protocol.ServerID) {
	for _, s := range g.Sessions(func(s *Session) bool { return s.server == id }) {
		s.fail("", "", protocol.ErrUnknownHash)
		s.close(protocol.CloseGoAway, "unknown connection hash", reasonHash)
	}
}

func (g *Gateway) reapplyTopic(t *topic) {
	rule := g.follow(t)
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

// follow brings a topic in line with the settings in force and gives its rule; nil = no rule covers it.
func (g *Gateway) follow(t *topic) *policy.Rule {
	t.mu.Lock()
	var rule *policy.Rule
	if server := g.settings.Current().ByID(t.key.Server); server != nil && server.Enabled {
		rule = server.Rule(t.key.Channel)
	}
	if rule == nil || rule == t.rule.Load() {
		t.mu.Unlock()
		return rule
	}
	stop := t.switchLocked(t.rule.Load(), rule)
	if t.batch.empty() {
		t.mu.Unlock()
	} else {
		t.flushLocked(time.Now(), false)
	}
	if stop != nil {
		stop()
	}
	g.hub.followHistory(t)
	g.hub.followPresence(t)
	return rule
}

// switchLocked lets a topic follow a changed rule; what it returns has to be called without the lock.
func (t *topic) switchLocked(was, rule *policy.Rule) (stop func()) {
	moved := was.ID != rule.ID
	if was.Presence && (moved || !rule.Presence) {
		for _, m := range t.members {
			t.tellPatternsLocked(was, m, protocol.PresenceLeave)
		}
	}
	t.rule.Store(rule)
	if was.History != rule.History || was.Mark() != rule.Mark() {
		t.stored = t.stored && rule.History > 0
		t.sizeRing(rule)
		t.ring.reset(t.position.Offset)
	}
	switch {
	case was.Presence && !rule.Presence:
		// The lists end; their owners are not told more, the remaining clients see no one.
		for _, m := range t.members {
			t.hub.gw.presence.Delete(t.key, m.session.id)
			m.presence.Store(false)
		}
		stop = t.stopView
		t.roster, t.stopView = nil, nil
		t.owed.Store(false)
	case !was.Presence && rule.Presence:
		for _, m := range t.members {
			t.announceLocked(m, protocol.PresenceJoin)
			if m.asked {
				t.owed.Store(true)
			}
		}
	case rule.Presence && moved:
		for _, m := range t.members {
			t.tellPatternsLocked(rule, m, protocol.PresenceJoin)
		}
	}
	return stop
}

// followHistory sees to it that the feed is switched when the rule's history was switched on or off. What fails
// is tried again by the next sweep; until then the topic claims no history.
func (h *Hub) followHistory(t *topic) {
	if t.followed.Load() == (t.rule.Load().History > 0) {
		return
	}
	h.later(0, func() {
		if !t.storing.TryLock() {
			return // the sweep looks again
		}
		defer t.storing.Unlock()
		select {
		case h.switches <- struct{}{}:
		case <-h.gw.ctx.Done():
			return
		}
		defer func() { <-h.switches }()
		if err := t.switchFeed(); err != nil {
			h.gw.log.Warn("history of a channel cannot be switched", "channel", t.key.Channel, "err", err)
		}
	})
}

// switchFeed is called with storing held.
func (t *topic) switchFeed() error {
	for {
		want := t.rule.Load().History > 0
		if want == t.followed.Load() {
			return nil
		}
		ctx, cancel := context.WithTimeout(t.hub.gw.ctx, attachTimeout)
		err := t.feed.SetStored(ctx, want)
		cancel()
		if err != nil {
			return fmt.Errorf("switch history: %w", err)
		}
		t.mu.Lock()
		t.followed.Store(want)
		if rule := t.rule.Load(); want && rule.History > 0 {
			t.stored = true
			t.sizeRing(rule)
		}
		t.mu.Unlock()
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
			m.recordJoin()
		}
		if t.batch.empty() {
			t.mu.Unlock()
		} else {
			t.flushLocked(time.Now(), false)
		}
	}
}
