package client

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"fanfare/protocol"
)

// handle takes one inbound frame. It runs on the reader of the connection and never waits.
func (c *Client) handle(l *link, f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l {
		return
	}
	if f.Options.Ref != "" && (f.Action == "ack" || f.Action == "error") {
		c.answeredLocked(f)
		return
	}
	if f.Action == "error" && f.Options.Channel == "" {
		c.failedLocked(l, f.failure())
		return
	}
	ch := c.channels[f.Options.Channel]
	if ch == nil {
		return // left meanwhile
	}
	if err := ch.handleLocked(l, f); err != nil {
		c.o.Logger.Warn("frame cannot be read", "channel", ch.name, "err", err)
	}
}

// answeredLocked ends the call that a frame answers.
func (c *Client) answeredLocked(f *frame) {
	call := c.calls[f.Options.Ref]
	if call == nil {
		return // given up meanwhile
	}
	delete(c.calls, f.Options.Ref)
	var a answer
	if f.Action == "error" {
		e := f.failure()
		if a.err = e; e.Code == protocol.CodeUnknownOutcome {
			a.err = unknownOutcome(e)
		}
	} else {
		var p struct {
			ID     string      `json:"id"`
			Offset json.Number `json:"offset"`
		}
		if err := json.Unmarshal(f.Payload, &p); err != nil {
			a.err = unknownOutcome(fmt.Errorf("ack: %w", err))
		}
		a.receipt.ID = p.ID
		if n, err := p.Offset.Int64(); err == nil && n > 0 {
			a.receipt.Offset = uint64(n)
		}
	}
	call.done <- a
}

// failedLocked handles an error about the connection.
func (c *Client) failedLocked(l *link, e *protocol.Error) {
	c.cause = e
	if e.Code == protocol.CodeTokenExpired && c.o.Token != nil && !l.renewing {
		// The socket is anonymous now. Close echoes through the reader, which dials with a fresh token.
		l.renewing = true
		l.renew <- struct{}{}
		return
	}
	for _, ch := range c.order {
		ch.pushLocked(item{event: &Failure{Err: e}})
	}
}

func (ch *Channel) handleLocked(l *link, f *frame) error {
	switch f.Action {
	case "join":
		ch.joinedLocked(l, f)
		return nil
	case "error":
		ch.errorLocked(l, f.failure())
		return nil
	}
	if !ch.live {
		return nil // from before the join that is under way, which repeats it
	}
	switch f.Action {
	case "message", "event":
		return ch.messageLocked(f)
	case "history":
		return ch.historyLocked(f)
	case "presence_full":
		return ch.presenceFullLocked(f)
	case "presence_update":
		return ch.presenceUpdateLocked(f)
	}
	return nil
}

func (ch *Channel) messageLocked(f *frame) error {
	m, err := f.message()
	if err != nil {
		return err
	}
	kept := m.Offset > 0 && m.ID != ""
	if kept && ch.seen.has(m.ID) {
		return nil
	}
	it := item{event: m, size: len(f.raw)}
	if m.Offset > 0 && ch.stored {
		it.at = &Position{Epoch: ch.position.Epoch, Offset: max(ch.position.Offset, m.Offset)}
	}
	if !ch.pushLocked(it) {
		return nil
	}
	if kept {
		ch.seen.add(m.ID)
	}
	if it.at != nil {
		ch.position = *it.at
	}
	return nil
}

// historyLocked: an answer to History says whether there is more; what a join brings does not.
func (ch *Channel) historyLocked(f *frame) error {
	messages, more, err := f.history()
	if more != nil && len(ch.histories) > 0 {
		call := ch.histories[0]
		ch.histories = ch.histories[1:]
		call.done <- answer{messages: messages, more: *more, err: err}
		return nil
	}
	if err != nil {
		return err
	}
	ch.pushLocked(item{event: &History{Messages: messages}, size: len(f.raw)})
	return nil
}

func (ch *Channel) presenceFullLocked(f *frame) error {
	var p struct {
		Presence []wireMember `json:"presence"`
	}
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return fmt.Errorf("presence_full: %w", err)
	}
	ch.members = make([]Member, len(p.Presence))
	for i := range p.Presence {
		ch.members[i] = p.Presence[i].member()
	}
	ch.pushLocked(ch.listLocked())
	return nil
}

func (ch *Channel) listLocked() item {
	size := 0
	for i := range ch.members {
		size += 100 + len(ch.members[i].Extras) + len(ch.members[i].Data)
	}
	return item{event: &PresenceList{Members: slices.Clone(ch.members)}, size: size}
}

func (ch *Channel) presenceUpdateLocked(f *frame) error {
	var p struct {
		Action   protocol.PresenceAction `json:"action"`
		Presence wireMember              `json:"presence"`
	}
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return fmt.Errorf("presence_update: %w", err)
	}
	m := p.Presence.member()
	if m.Source == "" {
		m.Source = f.Options.Source
	}
	at := slices.IndexFunc(ch.members, func(o Member) bool { return o.Socket == m.Socket && o.Source == m.Source })
	switch {
	case p.Action == protocol.PresenceLeave && at >= 0:
		ch.members = slices.Delete(ch.members, at, at+1)
	case p.Action == protocol.PresenceLeave:
	case at >= 0:
		ch.members[at] = m
	default:
		ch.members = append(ch.members, m)
	}
	ch.pushLocked(item{event: &PresenceChange{Action: p.Action, Member: m}, size: len(f.raw)})
	return nil
}

// errorLocked handles an error about the channel that answers no message.
func (ch *Channel) errorLocked(l *link, e *protocol.Error) {
	switch {
	case e.Code == protocol.CodeRemoved:
		ch.endLocked(e)
	case e.Code == protocol.CodeGap:
		if ch.live {
			ch.resyncLocked(l, GapServer)
		}
	case ch.expect > 0:
		ch.refusedLocked(e)
	case len(ch.histories) > 0:
		call := ch.histories[0]
		ch.histories = ch.histories[1:]
		call.done <- answer{err: e}
	case e.Code == protocol.CodeNotJoined && ch.live:
		// Another Channel of the same name on this socket left it, or the server forgot: join again.
		ch.due = time.Now()
	default:
		ch.pushLocked(item{event: &Failure{Err: e}})
	}
}
