package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"fanfare/protocol"
)

// Drain sends every socket away with 1012, spread evenly over the window in random order, because stock
// clients all come back exactly one second later. New sockets are refused from its beginning. A socket whose
// publications are still unanswered is closed when they are answered, at the latest at the window's end plus
// the publish deadline. It returns when all sockets have ended or ctx is done.
func (g *Gateway) Drain(ctx context.Context, window time.Duration) {
	g.draining.Store(true)
	sessions := g.Sessions(nil)
	g.metrics.drainTotal.Set(float64(len(sessions)))
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	started := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	sent := make(map[*Session]bool, len(sessions))
	sendAway := func(s *Session) {
		if !sent[s] {
			sent[s] = true
			g.metrics.drained.Inc()
			g.spawn(func() { s.closeSettled(ctx, protocol.CloseRestart, "restart", reasonDrain) })
		}
	}
	for i, s := range sessions {
		due := started.Add(time.Duration(float64(window) * float64(i) / float64(len(sessions))))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		sendAway(s)
	}
	// Those whose answer is awaited, and sockets that were being accepted when the drain began.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		rest := g.Sessions(nil)
		if len(rest) == 0 {
			return
		}
		for _, s := range rest {
			sendAway(s)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// closeSettled closes the socket once its frame and its publications are answered.
func (s *Session) closeSettled(ctx context.Context, code protocol.CloseCode, text string, why closeReason) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(protocol.PublishDeadline)
	for {
		if s.pending.Load() == 0 && s.work.TryLock() {
			s.work.Unlock()
			break
		}
		if time.Now().After(deadline) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	s.close(code, text, why)
}

// SendAway closes all sockets with 1013, spread over the window: the gateway is cut from the broker and its
// clients are better off elsewhere. New sockets are not refused by it. It ends early when stop says so.
func (g *Gateway) SendAway(ctx context.Context, window time.Duration, stop func() bool) {
	sessions := g.Sessions(nil)
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	started := time.Now()
	for i, s := range sessions {
		due := started.Add(time.Duration(float64(window) * float64(i) / float64(len(sessions))))
		for time.Until(due) > 0 {
			select {
			case <-time.After(min(time.Until(due), 100*time.Millisecond)):
			case <-ctx.Done():
				return
			}
			if stop() {
				return
			}
		}
		s.close(protocol.CloseTryAgain, "broker unreachable", reasonCut)
	}
}
