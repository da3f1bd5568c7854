package presence

import (
	"context"
	"errors"
	"time"

	"fanfare/protocol"
)

var errUnfinished = errors.New("presence: not built yet")

// Directory knows who is on which channel, on all gateways.
type Directory struct {
	o Options
}

// New checks the options and registers the metrics. It starts nothing and sends nothing.
func New(o Options) (*Directory, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Directory{o: o}, nil
}

// Ensure creates the buckets or brings them up to date.
func (d *Directory) Ensure(ctx context.Context) error { return errUnfinished }

// Run holds the lease, writes the entries and watches the other gateways until ctx ends.
func (d *Directory) Run(ctx context.Context) error { return errUnfinished }

// Ready waits until the lease is held and the other gateways are known.
func (d *Directory) Ready(ctx context.Context) error { return errUnfinished }

// Put joins one of our sessions, or changes its value.
func (d *Directory) Put(topic protocol.Topic, session protocol.SessionID, value []byte) {}

// Delete lets one of our sessions leave.
func (d *Directory) Delete(topic protocol.Topic, session protocol.SessionID) {}

// Watch tells sink about the members of other gateways on a channel or below a pattern.
func (d *Directory) Watch(ctx context.Context, topic protocol.Topic, sink Sink) (*Watch, error) {
	return nil, errUnfinished
}

// Watch is one subscription to the members of a channel or pattern.
type Watch struct{}

// Stop ends the watch. It never blocks; a call of Changed that is under way may still end after it.
func (w *Watch) Stop() {}

// Nodes lists the gateways alive now, this one included.
func (d *Directory) Nodes() []NodeInfo { return nil }

// Snapshot lists all members of a channel or pattern, ours included.
func (d *Directory) Snapshot(ctx context.Context, topic protocol.Topic, limit int, after string) (Page, error) {
	return Page{}, errUnfinished
}

// Handover is for the begin of a drain: from now on Delete is a leave with grace.
func (d *Directory) Handover(grace time.Duration) {}

// Drain takes all our entries away, with grace, and gives up the lease.
func (d *Directory) Drain(ctx context.Context, grace time.Duration) error { return errUnfinished }
