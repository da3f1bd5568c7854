package gateway

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"fanfare/protocol"
)

// Session is one socket. Frames are processed one after the other by whoever runs process (worker.go); other
// goroutines only end it, take channels from it, or write to its conn.
type Session struct {
	gw     *Gateway
	id     protocol.SessionID
	server protocol.ServerID
	conn   *conn
	socket *gws.Conn
	// address is what the seat is counted under, when that is limited.
	address string
	index   int // in Gateway.sessions; guarded by Gateway.mu
	// turnedAway: the session never belonged to a server and only waits for its close; fixed before it reads.
	turnedAway bool
	working    bool        // a frame is being processed; the reader's
	load       *serverLoad // of its realtime server; nil before it was added

	sentAway atomic.Bool // by a drain: its user is expected on another gateway
	identity atomic.Pointer[protocol.Identity]
	opened   int64        // Unix milliseconds
	heard    atomic.Int64 // Unix milliseconds of the last sign of life
	pinged   int64        // Unix milliseconds; the keep-alive sweep's
	expiring bool         // becomeAnonymous is on its way; the keep-alive sweep's

	mu     sync.Mutex
	subs   []*subscription
	ended  bool
	ending bool // close was called; the first reason counts
	reason closeReason
	code   protocol.CloseCode // what it was closed with, by us or by the peer; 0 = without a close frame
	left   []Membership       // the newest few channels left before the end

	pending atomic.Int32 // publications not answered yet
	work    sync.Mutex   // held while a frame is processed, so that others can wait for its end

	pace *pace // the frame being processed owns it; nil until the first frame
	refs *refs // guarded by mu; nil until the first ref
}

// closeReason says why a socket ended; a closed set, fit for a metric's label.
type closeReason uint8

const (
	reasonClient closeReason = iota // the peer closed it
	reasonLost                      // the connection broke
	reasonDrain
	reasonBacklog
	reasonWriteTimeout
	reasonWriteError
	reasonHoldOverflow
	reasonRate
	reasonPong
	reasonTooLarge
	reasonProtocol
	reasonHash
	reasonDisconnected
	reasonCut
	reasonShutdown
)

var closeReasons = [...]string{ //nolint:gochecknoglobals // a constant table
	"client", "lost", "drain", "slow_backlog", "slow_write", "write_error", "slow_hold",
	"rate_limit", "pong_timeout", "too_large", "protocol_error", "unknown_hash", "disconnected", "broker_cut", "shutdown",
}

// Identity is who the session is; anonymous once its token has run out.
func (s *Session) Identity() *protocol.Identity { return s.identity.Load() }

// ID names the session.
func (s *Session) ID() protocol.SessionID { return s.id }

func (s *Session) member() protocol.Member {
	return protocol.Member{Session: s.id, Identity: s.Identity()}
}

// find gives the session's subscription to a channel, or nil.
func (s *Session) find(channel protocol.Channel) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.subs {
		if m.topic.key.Channel == channel {
			return m
		}
	}
	return nil
}

// sendFrame sends one frame whose payload encode appends.
func (s *Session) sendFrame(encode func([]byte) []byte) {
	p := framePool.Get().(*[]byte)
	*p = appendText((*p)[:0], encode)
	_ = s.conn.write(*p) // a refusal ends the session through its reader
	if cap(*p) <= 64<<10 {
		framePool.Put(p)
	}
}

var framePool = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }} //nolint:gochecknoglobals // a pool

// fail answers a frame with an error.
func (s *Session) fail(channel protocol.Channel, ref string, e *protocol.Error) {
	s.gw.metrics.errors.WithLabelValues(string(e.Code)).Inc()
	s.sendFrame(func(dst []byte) []byte { return protocol.AppendError(dst, channel, ref, e) })
}

// close ends the socket with a close frame behind everything already written. It does not wait.
func (s *Session) close(code protocol.CloseCode, text string, why closeReason) {
	s.mu.Lock()
	if s.ending || s.ended {
		s.mu.Unlock()
		return
	}
	s.ending, s.reason, s.code = true, why, code
	s.mu.Unlock()
	_ = s.socket.WriteClose(uint16(code), []byte(text))
}

// end takes the session out of everything, once its reader has ended.
func (s *Session) end(err error) {
	s.mu.Lock()
	s.ended = true
	if !s.ending {
		s.reason, s.code = s.reasonOf(err), closeCodeOf(err)
	}
	reason := s.reason
	subs, left := s.subs, s.left
	s.subs, s.left = nil, nil
	s.mu.Unlock()
	s.sentAway.Store(reason == reasonDrain)
	past := s.past(len(subs), left)
	for _, m := range subs {
		past.was(m.leave(false))
	}
	s.gw.recent.add(past)
	s.gw.recordDisconnect(s, reason)
	s.gw.removed(s, reason)
}

// reasonOf tells why a reader ended that we did not end ourselves.
func (s *Session) reasonOf(err error) closeReason {
	switch s.conn.evictReason() {
	case evictBacklog:
		return reasonBacklog
	case evictTimeout:
		return reasonWriteTimeout
	case evictError:
		return reasonWriteError
	case evictNone:
	}
	if _, ok := errors.AsType[*gws.CloseError](err); ok {
		return reasonClient
	}
	if err == nil || errors.Is(err, io.EOF) {
		return reasonLost
	}
	switch code := closeCodeOf(err); {
	case code == protocol.CloseTooLarge:
		return reasonTooLarge
	case code != 0, strings.HasPrefix(err.Error(), "gws: "):
		return reasonProtocol
	}
	return reasonLost
}

// leave ends a subscription: the member is gone before its presence leave is told. settled: nothing of the
// channel goes to the socket any more once it returns, so that it may join again. It gives the membership as it
// was; its Joined is zero when there was none.
func (m *subscription) leave(settled bool) (was Membership) {
	t := m.topic
	why := m.leaveReason()
	t.mu.Lock()
	if settled {
		t.settleLocked()
	}
	was = m.membershipLocked()
	if !t.removeLocked(m) {
		t.mu.Unlock()
		return Membership{}
	}
	m.recordLeave(why)
	if t.users--; t.users == 0 {
		t.idle = time.Now()
	}
	t.announceLocked(m, protocol.PresenceLeave)
	if t.batch.empty() || len(t.members) == 0 {
		t.mu.Unlock()
		return was
	}
	t.flushLocked(time.Now(), false)
	return was
}

// detach takes a subscription out of the session's list; false when it was not there.
func (s *Session) detach(m *subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.subs {
		if x == m {
			last := len(s.subs) - 1
			s.subs[i] = s.subs[last]
			s.subs[last] = nil
			s.subs = s.subs[:last]
			return true
		}
	}
	return false
}

// expel removes the session from a channel it is no longer allowed on, and says so.
func (s *Session) expel(m *subscription, e *protocol.Error) {
	s.mu.Lock()
	m.expelled = true
	s.mu.Unlock()
	if !s.detach(m) {
		return
	}
	s.noteLeft(m.leave(true), string(e.Code))
	s.gw.metrics.errors.WithLabelValues(string(e.Code)).Inc()
	// Behind the answers of a join that is under way.
	m.send(appendText(nil, func(dst []byte) []byte { return protocol.AppendError(dst, m.topic.key.Channel, "", e) }))
}
