package presence

import (
	"context"
	"fmt"
	"time"
)

// Handover begins a drain: from now on Delete leaves the entry in place for the grace, and the other gateways go
// on showing it until the same authenticated user has a new entry on the channel or the grace ends, whichever is
// first. The gateway is told to the others as going. With grace 0 leaves are as always.
func (d *Directory) Handover(grace time.Duration) {
	d.handover.Store(int64(min(max(grace, 0), maxGrace)))
	d.going.Store(true)
	select {
	case d.beatNow <- struct{}{}:
	default:
	}
}

// Drain ends in order: what is still here leaves with grace, and the lease is given up when the bucket has it
// all. Run goes on until its context ends, but writes nothing more. If ctx ends first the lease is left to run
// out, and the other gateways deal with it as with a crash.
func (d *Directory) Drain(ctx context.Context, grace time.Duration) error {
	d.Handover(grace)
	grace = time.Duration(d.handover.Load())
	d.roster.close(grace)
	if err := d.roster.settled(ctx); err != nil {
		return fmt.Errorf("drain presence: %w", err)
	}
	if d.ended.Load() {
		return nil
	}
	ask := drained{grace: grace, done: make(chan error, 1)}
	for {
		select {
		case d.drainLease <- ask:
		case <-d.done:
			return fmt.Errorf("drain presence: %w", ErrStopped)
		case <-ctx.Done():
			return fmt.Errorf("drain presence: %w", ctx.Err())
		}
		select {
		case err := <-ask.done:
			if err == nil {
				d.ended.Store(true)
				return nil
			}
			d.o.Logger.Debug("lease not given up yet", "err", err)
		case <-d.done:
			return fmt.Errorf("drain presence: %w", ErrStopped)
		}
		if err := wait(ctx, d.retryRefresh()); err != nil {
			return fmt.Errorf("drain presence: %w", err)
		}
	}
}
