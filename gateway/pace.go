package gateway

import (
	"math"
	"time"

	"fanfare/protocol"
)

// pace is a session's token bucket for frames, and one for messages per channel whose rule asks for it.
type pace struct {
	tokens   float64
	last     time.Time
	told     time.Time // of the last error
	since    time.Time // when the excess began that goes on
	over     time.Time // the last excess
	channels map[protocol.Channel]*bucket
}

type bucket struct {
	tokens float64
	last   time.Time
}

// rateStrike is how long a socket may stay over its limit before it is closed.
const rateStrike = 10 * time.Second

// rateRest is how long a socket has to keep within its limit before an excess counts as a new one.
const rateRest = 2 * time.Second

// take refills by perSecond up to burst and takes one token; otherwise it tells how long to wait.
func take(tokens *float64, last *time.Time, now time.Time, perSecond, burst float64) (wait time.Duration, ok bool) {
	if last.IsZero() {
		*tokens = burst
	} else {
		*tokens = min(burst, *tokens+perSecond*now.Sub(*last).Seconds())
	}
	*last = now
	if *tokens >= 1 {
		*tokens--
		return 0, true
	}
	return time.Duration((1 - *tokens) / perSecond * float64(time.Second)), false
}

// admit applies limits.frames_per_second. A frame over it is answered with an error, once a second, or always
// when it carries a ref; a socket that goes on for ten seconds is closed.
func (s *Session) admit(now time.Time, channel protocol.Channel, ref string) bool {
	limits := &s.gw.opts.Limits
	if limits.FramesPerSecond <= 0 {
		return true
	}
	if s.pace == nil {
		s.pace = &pace{}
	}
	r := s.pace
	wait, ok := take(&r.tokens, &r.last, now, float64(limits.FramesPerSecond), float64(max(1, limits.FramesBurst)))
	if ok {
		return true
	}
	if now.Sub(r.over) > rateRest {
		r.since = now
	}
	r.over = now
	s.gw.metrics.dropped.WithLabelValues("rate_limit").Inc()
	if now.Sub(r.since) > rateStrike {
		s.close(protocol.CloseTryAgain, "rate limit", reasonRate)
		return false
	}
	s.tellRate(now, channel, ref, wait)
	return false
}

func (s *Session) tellRate(now time.Time, channel protocol.Channel, ref string, wait time.Duration) {
	if ref == "" && now.Sub(s.pace.told) < time.Second {
		return
	}
	s.pace.told = now
	s.fail(channel, ref, &protocol.Error{
		Code: protocol.CodeRateLimited, Message: "Too many messages. Slow down.",
		RetryAfter: int(math.Ceil(wait.Seconds())),
	})
}

// admitMessage applies a rule's rate_limit: messages per minute and socket.
func (s *Session) admitMessage(now time.Time, channel protocol.Channel, ref string, perMinute int) bool {
	if perMinute <= 0 {
		return true
	}
	if s.pace == nil {
		s.pace = &pace{}
	}
	if s.pace.channels == nil {
		s.pace.channels = make(map[protocol.Channel]*bucket)
	}
	b := s.pace.channels[channel]
	if b == nil {
		// Bounded: a message needs a subscription, of which a socket has few; leftovers go when they are many.
		if len(s.pace.channels) > 2*s.gw.opts.Limits.Channels {
			clear(s.pace.channels)
		}
		b = &bucket{}
		s.pace.channels[channel] = b
	}
	wait, ok := take(&b.tokens, &b.last, now, float64(perMinute)/60, float64(perMinute))
	if !ok {
		s.gw.metrics.dropped.WithLabelValues("rule_rate_limit").Inc()
		s.tellRate(now, channel, ref, wait)
	}
	return ok
}
