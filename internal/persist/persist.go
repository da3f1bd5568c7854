// Package persist tries again what a broker without a leader refuses or never answers. A gateway that starts beside its
// brokers asks before they have elected anybody.
package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	attemptTimeout = 5 * time.Second // what was asked of a server that lost its lead is never answered
	firstPause     = 50 * time.Millisecond
	longestPause   = time.Second
	logEvery       = 10 * time.Second
)

// Try is something that is done at the start and must succeed.
type Try struct {
	Logger *slog.Logger
	// Waiting is logged at the first failure and then every ten seconds, with Attrs; in between at debug level.
	Waiting string
	Attrs   []any
	// Final tells errors that another attempt does not cure; nil: there are none.
	Final func(error) bool
}

// Until repeats f until it succeeds, fails for good or ctx ends. Each attempt has its own bound. The error after ctx
// ended is the last one by which a broker said something, where there was one.
func (t Try) Until(ctx context.Context, f func(context.Context) error) error {
	var logged time.Time
	var told error
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		once, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := f(once)
		cancel()
		if err == nil || t.Final != nil && t.Final(err) {
			return err
		}
		if told == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			told = err
		}
		level := slog.LevelDebug
		if now := time.Now(); logged.IsZero() || now.Sub(logged) >= logEvery {
			level, logged = slog.LevelWarn, now
		}
		t.Logger.Log(ctx, level, t.Waiting, append(slices.Clip(t.Attrs), "err", err)...) //nolint:sloglint // the caller's constant
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return advise(told)
		case <-timer.C:
		}
	}
}

// noLeader is what NATS says while nobody leads the cluster.
const noLeader = 10008

// advise adds what an operator should look at.
func advise(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == noLeader {
		return fmt.Errorf("%w: the brokers have no leader; most of them must be up and reach each other, all of them when the cluster starts for the first time", err)
	}
	return err
}
