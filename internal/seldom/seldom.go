// Package seldom keeps what goes on for long from filling the log.
package seldom

import (
	"log/slog"
	"time"
)

// Every is how often something that lasts is logged.
const Every = 10 * time.Second

// Line is one that is logged each time something is tried in vain. The zero value is ready, for one goroutine.
type Line struct{ last time.Time }

// Level is that of the next attempt: warn at once and then every ten seconds, debug in between.
func (l *Line) Level() slog.Level {
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < Every {
		return slog.LevelDebug
	}
	l.last = now
	return slog.LevelWarn
}
