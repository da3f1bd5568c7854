package api

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of New.
type Options struct {
	Settings Settings
	Backend  Backend
	// Lifecycle may be nil: then its path answers 404 lifecycle_off.
	Lifecycle Lifecycle
	// AdminToken guards /api:meta; empty = off.
	AdminToken string
	// APIKeys guard /api/v1, see keys.go for their form; none = off.
	APIKeys []string
	Limits  Limits
	// Registerer and Logger may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Limits bound events and answers. The zero value is the documented default.
type Limits struct {
	MessageBytes    int // of an event's data; 0 = 65536
	JSONDepth       int // 0 = 128
	ChannelBytes    int // 0 = 200
	ChannelSegments int // 0 = 16
	HistoryFrames   int // of one answer; 0 = 1000
}

// API is the handler.
type API struct {
	o Options
}

// New makes the handler. Its only errors are bad entries in APIKeys.
func New(o Options) (*API, error) {
	return &API{o: o}, nil
}

// Drain ends waiting requests at once, and lets no new one wait.
func (a *API) Drain() {}

// ServeHTTP answers everything under /api:meta and /api, and 404 as JSON for any other path.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
