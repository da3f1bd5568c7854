package gateway

import (
	"context"
	"time"
)

// keepAlive is the one clock of all sockets: it pings, drops those that stay silent, and turns those whose
// token has run out into anonymous ones. No socket has a timer of its own.
func (g *Gateway) keepAlive(ctx context.Context) {
	tick := time.NewTicker(g.sweepInterval())
	defer tick.Stop()
	topics := time.NewTicker(topicIdle / 4)
	defer topics.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ctx.Done():
			return
		case now := <-tick.C:
			g.sweepSessions(now)
		case now := <-topics.C:
			g.hub.sweep(now)
		}
	}
}

func (g *Gateway) sweepSessions(now time.Time) {
	unix := now.UnixMilli()
	ping, pong := g.opts.PingInterval.Milliseconds(), g.opts.PongTimeout.Milliseconds()
	for _, s := range g.Sessions(nil) {
		heard := max(s.heard.Load(), s.conn.progress.Load())
		if pong > 0 && unix-heard > pong {
			s.mu.Lock()
			if !s.ending {
				s.ending, s.reason = true, reasonPong
			}
			s.mu.Unlock()
			s.conn.drop()
			continue
		}
		if ping > 0 && unix-max(heard, s.pinged) >= ping {
			s.pinged = unix
			_ = s.conn.write(pingFrame)
		}
		if id := s.Identity(); id.Authenticated && !id.Expires.IsZero() && now.After(id.Expires) {
			if !s.expiring {
				s.expiring = true
				g.spawn(s.becomeAnonymous)
			}
		}
	}
}

// sweepInterval is a second, or a quarter of shorter intervals.
func (g *Gateway) sweepInterval() time.Duration {
	every := time.Second
	for _, d := range []time.Duration{g.opts.PingInterval, g.opts.PongTimeout} {
		if d > 0 {
			every = min(every, max(10*time.Millisecond, d/4))
		}
	}
	return every
}
