package broker

import (
	"context"
	"errors"
	"log/slog"
)

// EmbeddedOptions say where and how the embedded broker stores.
type EmbeddedOptions struct {
	DataDir string
	// Sync is "always" (default) or an interval such as "1s".
	Sync string
	// MaxStore bounds the stored bytes; default 64 GiB.
	MaxStore int64
	Logger   *slog.Logger
}

// Embedded is a NATS server with JetStream inside this process, without a listening port.
type Embedded struct{}

// NewEmbedded checks the options and starts nothing.
func NewEmbedded(o EmbeddedOptions) (*Embedded, error) { return nil, errors.ErrUnsupported }

// Start locks the data directory, starts the server and waits until it is ready.
func (e *Embedded) Start(ctx context.Context) error { return errors.ErrUnsupported }

// Close stops the server, waits for it and releases the directory.
func (e *Embedded) Close() {}

// Healthy tells what is wrong, or nil.
func (e *Embedded) Healthy() error { return errors.ErrUnsupported }
