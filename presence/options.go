package presence

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Options of a Directory. Zero values of the timings and sizes are replaced by the documented defaults.
type Options struct {
	// Conn is used for everything; it is not closed. A connection of its own (not the one that carries
	// publications) keeps slow reads of the bucket away from the live path.
	Conn *nats.Conn
	// Node is this run of the process, new at every start.
	Node protocol.NodeID
	// Addr is told to the other gateways; for people.
	Addr string
	// Replicas of the streams; 1 embedded, 3 on a cluster. 0 = 1.
	Replicas int
	// Shards is the number of presence buckets: 1 embedded, 4 on a cluster, a divisor of 8. All gateways must use
	// the same. 0 = 1.
	Shards int
	// Solo says that no other gateway can live (embedded broker): everything an earlier run left is removed at
	// the start.
	Solo bool
	// MaxSegments is limits.channel_segments: how deep channels can be. 0 = 16.
	MaxSegments int
	// Registerer for the metrics; nil = none.
	Registerer prometheus.Registerer
	// Logger; nil = discarded.
	Logger *slog.Logger

	// Heartbeat is the time between two heartbeats. 1 s.
	Heartbeat time.Duration
	// Suspect is the silence after which a gateway is pinged. 2.5 s.
	Suspect time.Duration
	// PingTimeout is how long each of three pings may take. 100 ms.
	PingTimeout time.Duration
	// Lease is how long a gateway's entries stand without a refresh; longer than two broker elections. At least
	// 1 s. 20 s.
	Lease time.Duration
	// Refresh is the time between two refreshes of the lease. 3 s.
	Refresh time.Duration
	// Hold is how long entries of an expired lease stay visible while its gateway still sends heartbeats: it is
	// about to write them again under a new generation. 3 s.
	Hold time.Duration
	// Redo is the time between two complete comparisons of a view with the bucket. 60 s.
	Redo time.Duration
	// Sweep is the time between two searches for entries without a gateway. 1 h.
	Sweep time.Duration
	// Coalesce is the time over which writes are gathered when they come in storms. 5 ms.
	Coalesce time.Duration
	// AckTimeout is when an unanswered write is sent again. 2 s.
	AckTimeout time.Duration
	// Tombstone is how long a leave is kept in the bucket and in views. 10 s; whole seconds.
	Tombstone time.Duration
	// Patience is how long Watch waits for a proof that its snapshot is current before it hands out what it can
	// read and proves it later (a broker election takes 4–9 s). 1 s.
	Patience time.Duration
	// Window is the number of writes in flight. 2000.
	Window int
}

func (o Options) withDefaults() (Options, error) {
	def(&o.Replicas, 1)
	def(&o.Shards, 1)
	def(&o.MaxSegments, 16)
	def(&o.Heartbeat, time.Second)
	def(&o.Suspect, 2500*time.Millisecond)
	def(&o.PingTimeout, 100*time.Millisecond)
	def(&o.Lease, 20*time.Second)
	def(&o.Refresh, 3*time.Second)
	def(&o.Hold, 3*time.Second)
	def(&o.Redo, time.Minute)
	def(&o.Sweep, time.Hour)
	def(&o.Coalesce, 5*time.Millisecond)
	def(&o.AckTimeout, 2*time.Second)
	def(&o.Tombstone, 10*time.Second)
	def(&o.Patience, time.Second)
	def(&o.Window, 2000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Conn == nil:
		return o, errors.New("presence: no connection")
	case len(o.Node) != protocol.NodeIDLen || !plain(string(o.Node)):
		return o, fmt.Errorf("presence: node %q is not %d URL-safe characters", o.Node, protocol.NodeIDLen)
	case o.Lease < time.Second:
		return o, fmt.Errorf("presence: lease %s is shorter than 1s", o.Lease)
	case o.Refresh >= o.Lease/2:
		return o, fmt.Errorf("presence: refresh %s leaves no second try within lease %s", o.Refresh, o.Lease)
	case o.Suspect <= o.Heartbeat:
		return o, fmt.Errorf("presence: suspect %s is not longer than heartbeat %s", o.Suspect, o.Heartbeat)
	case o.Shards < 1 || subject.Shards%o.Shards != 0:
		return o, fmt.Errorf("presence: %d shards, want a divisor of %d", o.Shards, subject.Shards)
	}
	return o, nil
}

func def[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
