package gateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/lxzan/gws"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// process handles one inbound frame, whole: it returns when joins, triggers and history reads are done and the
// publication is handed over. Called for one frame of a session at a time.
func (s *Session) process(m *gws.Message) {
	s.work.Lock()
	defer s.work.Unlock()
	s.mu.Lock()
	over := s.ending || s.ended
	s.mu.Unlock()
	if over {
		return
	}
	gw := s.gw
	started := time.Now()
	s.heard.Store(started.UnixMilli())
	b := m.Bytes()
	gw.metrics.received(len(b))
	if m.Opcode != gws.OpcodeText {
		s.fail("", "", protocol.Invalid(protocol.CodeInvalidMessage, "send text frames, not binary ones."))
		return
	}
	limits := &gw.opts.Limits
	r, failed := protocol.Decode(b, limits.JSONDepth)
	channel, badChannel := protocol.ParseChannel(r.Channel, limits.ChannelBytes, limits.ChannelSegments)
	ref := r.Ref
	if !s.admit(started, channel, ref) {
		return
	}
	switch {
	case len(b) > limits.MessageBytes:
		s.fail(channel, ref, protocol.Invalid(protocol.CodeTooLarge, fmt.Sprintf("larger than %d bytes.", limits.MessageBytes)))
		return
	case failed != nil:
		s.fail(channel, ref, failed)
		return
	case badChannel != nil:
		s.fail(nameable(r.Channel), ref, protocol.Invalid(protocol.CodeInvalidChannel, channelProblem(badChannel)))
		return
	}
	gw.metrics.frames.WithLabelValues(r.Action.String()).Inc()
	s.load.received()
	switch r.Action {
	case protocol.ActionJoin:
		s.join(channel, ref, r.Payload)
	case protocol.ActionLeave:
		if m := s.find(channel); m != nil && s.detach(m) {
			s.noteLeft(m.leave(true), "left")
		}
	case protocol.ActionMessage:
		s.message(started, channel, &r)
	case protocol.ActionHistory:
		s.history(channel, ref, r.Payload)
	case protocol.ActionPresenceUpdate:
		s.presenceUpdate(channel, ref, r.Payload)
	case protocol.ActionUnknown: // was answered with an error above
	}
}

// nameable is a channel name, however wrong, that an error may repeat, so that only that channel of a page gets
// it; "" when it is too long for that.
func nameable(name string) protocol.Channel {
	if len(name) > 1<<10 {
		return ""
	}
	return protocol.Channel(name)
}

func channelProblem(err error) string {
	switch {
	case errors.Is(err, protocol.ErrChannelEmpty):
		return "options.channel is missing."
	case errors.Is(err, protocol.ErrChannelUTF8):
		return "options.channel is not valid UTF-8."
	}
	return err.Error() + "."
}

// rule gives the rule in force for a channel of the session's server; nil when none covers it.
func (s *Session) rule(channel protocol.Channel) (*policy.Rule, *policy.Book) {
	book := s.gw.settings.Current()
	server := book.ByID(s.server)
	if server == nil || !server.Enabled {
		return nil, book
	}
	return server.Rule(channel), book
}
