package gateway

import (
	"context"
	"slices"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Presence. Of our own sessions the gateway itself knows best: their coming and going is applied to the roster
// and announced at once, under the lock that makes them members; Presence.Put and Delete tell the other
// gateways, whose members come back through Changed.

// openRoster makes sure that the topic has a roster: the members here and, once it returns, those of the
// other gateways. Single-flight.
func (t *topic) openRoster(ctx context.Context) error {
	for {
		t.mu.Lock()
		if t.roster != nil && t.opening == nil {
			t.roster.unwatched = time.Now().UnixNano() // fresh: the sweep leaves it for a while
			t.mu.Unlock()
			return nil
		}
		if wait := t.opening; wait != nil {
			t.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		t.opening = make(chan struct{})
		t.roster = newRoster()
		t.roster.unwatched = time.Now().UnixNano()
		t.fillLocked()
		t.mu.Unlock()
		break
	}
	if t.pattern() {
		t.fillPattern()
	}
	stop, err := t.hub.gw.presence.Watch(ctx, t.key, t)
	t.mu.Lock()
	done := t.opening
	t.opening = nil
	switch {
	case err != nil:
		t.roster = nil
	case t.roster == nil || !t.rule.Load().Presence: // switched off meanwhile
		t.roster = nil
		defer stop()
	default:
		t.stopView = stop
	}
	t.mu.Unlock()
	close(done)
	return err
}

// followPresence gives those who asked for presence while the rule had none the list, and the updates from then on.
// What fails is tried again by the next sweep.
func (h *Hub) followPresence(t *topic) {
	if !t.owed.Swap(false) {
		return
	}
	h.later(0, func() {
		select {
		case h.switches <- struct{}{}:
		case <-h.gw.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(h.gw.ctx, attachTimeout)
		err := t.openRoster(ctx)
		cancel()
		<-h.switches
		if err != nil {
			h.gw.log.Warn("presence of a channel cannot be switched on", "channel", t.key.Channel, "err", err)
			t.owed.Store(true)
			return
		}
		t.showPresence()
	})
}

// shownAtOnce is how many members are given the list at once.
const shownAtOnce = 256

// showPresence gives the list to the members who asked for it and have none.
func (t *topic) showPresence() {
	var waiting, busy []*subscription
	t.mu.Lock()
	for _, m := range t.members {
		if m.asked && !m.presence.Load() {
			waiting = append(waiting, m)
		}
	}
	t.mu.Unlock()
	for part := range slices.Chunk(waiting, shownAtOnce) {
		free := make([]*subscription, 0, len(part))
		for _, m := range part {
			if m.session.work.TryLock() {
				free = append(free, m)
			} else {
				busy = append(busy, m)
			}
		}
		t.show(free)
		for _, m := range free {
			m.session.work.Unlock()
		}
	}
	for _, m := range busy { // theirs may be a frame that takes long
		m.session.work.Lock()
		t.show([]*subscription{m})
		m.session.work.Unlock()
	}
}

// show gives members the list. Their sessions process no frame meanwhile; live frames are held back until it is out.
func (t *topic) show(members []*subscription) {
	now := time.Now()
	t.mu.Lock()
	t.roomLocked()
	t.settleLocked()
	if t.roster == nil || t.opening != nil {
		t.mu.Unlock()
		return
	}
	list := t.roster.snapshot()
	t.roster.unwatched = 0
	shown := make([]*subscription, 0, len(members))
	before := make([][]byte, 0, len(members)) // live frames from before the list
	for _, m := range members {
		if m.index < 0 || m.presence.Load() {
			continue
		}
		before = append(before, t.beginAgainLocked(m))
		m.hold.Store(&hold{})
		m.presence.Store(true)
		shown = append(shown, m)
	}
	if t.batch.empty() {
		t.mu.Unlock()
	} else {
		t.flushLocked(now, false)
	}
	for i, m := range shown {
		if len(before[i]) > 0 {
			_ = m.session.conn.write(before[i])
		}
		m.session.sendPresenceFull(t.key.Channel, list)
		m.release()
	}
}

// fillLocked enters the members of this node.
func (t *topic) fillLocked() {
	if t.pattern() {
		return
	}
	for _, m := range t.members {
		t.roster.put(rosterKey{session: m.session.id}, m.entry(""))
	}
}

// fillPattern enters the members this node has in the channels the pattern covers. Each channel's lock is held
// while its members are entered, as it is when they change, so that none is entered after it left.
func (t *topic) fillPattern() {
	t.hub.each(func(c *topic) {
		if c.pattern() || c.key.Server != t.key.Server || !t.key.Channel.Covers(c.key.Channel) || !sameRule(c.rule.Load(), t.rule.Load()) {
			return
		}
		c.mu.Lock()
		t.mu.Lock()
		for _, m := range c.members {
			if t.roster != nil {
				t.roster.put(rosterKey{session: m.session.id, source: c.key.Channel}, m.entry(c.key.Channel))
			}
		}
		t.mu.Unlock()
		c.mu.Unlock()
	})
}

// entry encodes the member; source names the channel for a pattern's roster. Called with topic.mu held.
func (m *subscription) entry(source protocol.Channel) []byte {
	return protocol.AppendMember(nil, protocol.Member{Session: m.session.id, Identity: m.session.Identity(), Data: m.data}, source)
}

// announceLocked tells everybody about a change of m, a member of this node: the watchers here, those of the
// patterns above, the other gateways. Called with t.mu held, on a channel; the frames wait for the next flush.
func (t *topic) announceLocked(m *subscription, action protocol.PresenceAction) {
	rule := t.rule.Load()
	if !rule.Presence || t.pattern() {
		return
	}
	gw := t.hub.gw
	if t.roster != nil {
		var entry []byte
		if action != protocol.PresenceLeave {
			entry = m.entry("")
		}
		if key := (rosterKey{session: m.session.id}); action != protocol.PresenceLeave || !t.stayLocked(m, key) {
			t.changeLocked(action, key, entry)
		}
	}
	t.tellPatternsLocked(rule, m, action)
	gw.metrics.presence(action)
	if action == protocol.PresenceLeave {
		gw.presence.Delete(t.key, m.session.id)
	} else {
		gw.presence.Put(t.key, m.session.id, m.entry(""))
	}
}

// tellPatternsLocked tells the watchers of the patterns that cover the channel by a rule.
func (t *topic) tellPatternsLocked(rule *policy.Rule, m *subscription, action protocol.PresenceAction) {
	if t.pattern() {
		return
	}
	t.hub.covering(t.key, rule, func(p *topic) {
		p.mu.Lock()
		if p.roster == nil {
			p.mu.Unlock()
			return
		}
		var entry []byte
		if action != protocol.PresenceLeave {
			entry = m.entry(t.key.Channel)
		}
		key := rosterKey{session: m.session.id, source: t.key.Channel}
		if action == protocol.PresenceLeave && p.stayLocked(m, key) {
			p.mu.Unlock()
			return
		}
		if p.changeLocked(action, key, entry) {
			p.flushLocked(time.Now(), false)
		} else {
			p.mu.Unlock()
		}
	})
}

// changeLocked applies one change to the roster and puts its frame into the batch; true when there is
// something to flush. A change that changes nothing is not told: every view sees each join and leave once.
func (t *topic) changeLocked(action protocol.PresenceAction, key rosterKey, entry []byte) bool {
	switch action {
	case protocol.PresenceLeave:
		if entry = t.roster.remove(key); entry == nil {
			return false
		}
	case protocol.PresenceJoin:
		if !t.roster.put(key, entry) {
			return false
		}
	default:
		if t.roster.put(key, entry) {
			action = protocol.PresenceJoin
		}
	}
	if len(t.members) == 0 || t.opening != nil { // while the list is being opened nobody has got one
		return false
	}
	b := &t.batch
	if b.empty() {
		b.since = time.Now()
		b.presenceOnly = true
	}
	b.buf = appendText(b.buf, func(dst []byte) []byte {
		return protocol.AppendPresenceUpdate(dst, t.key.Channel, key.source, action, entry)
	})
	var others protocol.Audience // but the member itself, when it changed its data
	if action == protocol.PresenceUpdate {
		others.Session = key.session
	}
	b.endRun(others, true)
	return true
}

// Changed implements PresenceSink: members of other gateways.
func (t *topic) Changed(changes []PresenceChange) {
	t.mu.Lock()
	defer func() {
		if t.batch.empty() {
			t.mu.Unlock()
		} else {
			t.flushLocked(time.Now(), false)
		}
	}()
	for _, c := range changes {
		if len(t.batch.buf) > maxBatchBytes {
			t.startLocked(time.Now(), false)
			t.roomLocked()
		}
		if t.roster == nil {
			return
		}
		key, entry := rosterKey{session: c.Session}, c.Entry
		// Of our own sessions nobody else can tell us anything; a member without an entry is none.
		if protocol.NodeOf(c.Session) == t.hub.gw.opts.Node || len(entry) == 0 && c.Action != protocol.PresenceLeave {
			continue
		}
		if t.pattern() {
			if c.Action != protocol.PresenceLeave && !t.owns(c.Channel) {
				continue
			}
			key.source = c.Channel
			if len(entry) > 0 {
				entry = append(protocol.AppendSource(append([]byte(nil), entry[:len(entry)-1]...), c.Channel), '}')
			}
		}
		t.changeLocked(c.Action, key, entry)
		if c.Action == protocol.PresenceJoin {
			t.backLocked(key, entry)
		}
	}
}

// closeViewLocked gives up the roster when the topic goes or nobody has watched it for a while; it returns
// what has to be called without the lock.
func (t *topic) closeViewLocked(gone bool, now time.Time) func() {
	if t.roster == nil || t.opening != nil {
		return nil
	}
	watched := false
	for _, m := range t.members {
		if watched = m.presence.Load(); watched {
			break
		}
	}
	if watched && !gone {
		t.roster.unwatched = 0
		return nil
	}
	if t.roster.unwatched == 0 {
		t.roster.unwatched = now.UnixNano()
	}
	if !gone && now.UnixNano()-t.roster.unwatched < int64(topicIdle) {
		return nil
	}
	stop := t.stopView
	t.roster, t.stopView = nil, nil
	return stop
}
