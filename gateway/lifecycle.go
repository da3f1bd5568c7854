package gateway

// recordJoin tells the record of comings and goings about a member. Called with topic.mu held.
func (m *subscription) recordJoin() {
	if gw := m.session.gw; gw.lifecycle != nil && !m.topic.pattern() {
		gw.lifecycle.Joined(m.topic.key, m.session.id, m.session.Identity())
	}
}

// recordLeave is the same for one who is no member any more. Called with topic.mu held.
func (m *subscription) recordLeave(why LeaveReason) {
	if gw := m.session.gw; gw.lifecycle != nil && !m.topic.pattern() {
		gw.lifecycle.Left(m.topic.key, m.session.id, why)
	}
}

// leaveReason is why a member leaves now. Called without topic.mu.
func (m *subscription) leaveReason() LeaveReason {
	if m.session.gw.lifecycle == nil {
		return ""
	}
	s := m.session
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.expelled:
		return LeaveEvicted
	case s.ended || s.ending:
		return s.reason.leave()
	}
	return LeaveLeft
}

// leave is what back ends are told of a socket's end.
func (r closeReason) leave() LeaveReason {
	switch r {
	case reasonClient, reasonLost, reasonWriteError, reasonDrain, reasonCut, reasonShutdown:
		return LeaveClosed
	case reasonPong:
		return LeaveTimeout
	case reasonDisconnected:
		return LeaveDisconnected
	case reasonBacklog, reasonWriteTimeout, reasonHoldOverflow, reasonRate, reasonTooLarge,
		reasonProtocol, reasonHash:
		return LeaveEvicted
	}
	return LeaveClosed
}

func (g *Gateway) recordConnect(s *Session) {
	if g.lifecycle != nil && !s.turnedAway {
		g.lifecycle.Connected(s.server, s.id, s.Identity())
	}
}

func (g *Gateway) recordDisconnect(s *Session, why closeReason) {
	if g.lifecycle != nil && !s.turnedAway {
		g.lifecycle.Disconnected(s.server, s.id, why.leave())
	}
}
