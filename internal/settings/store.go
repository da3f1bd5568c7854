package settings

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/policy"
)

// Options of New. Either Conn or File is set.
type Options struct {
	// Conn is the connection to the broker; it may be reconnecting.
	Conn *nats.Conn
	// Replicas of the bucket; 0 = 1.
	Replicas int
	// File is the path of a settings file.
	File string
	// Limits bound the settings.
	Limits policy.Limits
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger

	// CheckInterval is how often the file is read, or the bucket is asked whether the watch missed something; 0 = 500ms
	// for a file, 5 s for the bucket.
	CheckInterval time.Duration
}

// Store is the settings of a node.
type Store struct {
	o       Options
	current atomic.Pointer[policy.Book]
}
