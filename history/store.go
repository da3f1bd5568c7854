package history

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/protocol"
)

// Options of a Store.
type Options struct {
	Control *nats.Conn   // JetStream API and the meta bucket
	Reads   []*nats.Conn // direct reads; a slow read blocks whatever else is on its connection
	// Replicas of the streams; default 1.
	Replicas int
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Store reads and keeps the stored publications.
type Store struct{}

// New builds a Store. Run starts its trimming; reading works without.
func New(o Options) (*Store, error) { return nil, errors.ErrUnsupported }

// Ensure creates the streams and the meta bucket or brings them up to date.
func (s *Store) Ensure(ctx context.Context) error { return errors.ErrUnsupported }

// Run trims in the background until ctx ends.
func (s *Store) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Range says which publications are wanted, oldest first: with After or Since the oldest newer ones, with Before
// the nearest older ones, with neither the latest ones.
type Range struct {
	Limit    int // at most; default and most 1000
	Before   uint64
	After    uint64
	HasAfter bool // After 0 counts as given
	// UpTo leaves out what is newer than this offset; 0 = no bound.
	UpTo  uint64
	Since time.Time
	// Window: only the newest so many of the channel count; 0 = all that is kept. Not for patterns.
	Window int
	// Authenticated: false leaves out authenticated-only publications.
	Authenticated bool
	// Allow, when set, tells which channels of a pattern may be seen.
	Allow func(protocol.Channel) bool
}

// Page is an answer.
type Page struct {
	Publications []*protocol.Publication // oldest first
	More         bool                    // in the direction asked for
	Position     protocol.Position       // the end of the topic when it was read
}

// Read reads a page of a channel or a pattern.
func (s *Store) Read(ctx context.Context, t protocol.Topic, r Range) (Page, error) {
	return Page{}, errors.ErrUnsupported
}

// Resume gives what a subscriber at position from has missed, up to offset upTo (0 = to the end), at most max.
// whole is true only when it is proved that nothing is missing.
func (s *Store) Resume(ctx context.Context, t protocol.Topic, from protocol.Position, upTo uint64, max int) (pubs []*protocol.Publication, whole bool, err error) {
	return nil, false, errors.ErrUnsupported
}

// Position is the end of a topic.
func (s *Store) Position(ctx context.Context, t protocol.Topic) (protocol.Position, error) {
	return protocol.Position{}, errors.ErrUnsupported
}

// Purge removes everything of a topic.
func (s *Store) Purge(ctx context.Context, t protocol.Topic) error { return errors.ErrUnsupported }

// PurgeServer removes everything of a realtime server.
func (s *Store) PurgeServer(ctx context.Context, server protocol.ServerID) error {
	return errors.ErrUnsupported
}

// Trim keeps the newest keep publications of a channel.
func (s *Store) Trim(ctx context.Context, server protocol.ServerID, c protocol.Channel, keep int) error {
	return errors.ErrUnsupported
}

// Stored is to be called after each stored publication, with the rule's history: now and then, in the
// background, it trims the channel. It never blocks.
func (s *Store) Stored(server protocol.ServerID, c protocol.Channel, keep int) {}
