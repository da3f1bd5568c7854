// Package node is the composition root: it builds every part of a gateway, starts them in order and stops them.
package node

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"fanfare/internal/config"
)

// Options is what a node needs besides its configuration.
type Options struct {
	Logger  *slog.Logger
	Dev     bool
	Version string
	Stdout  io.Writer
}

// Node is one gateway.
type Node struct{}

// New builds a node and starts nothing.
func New(config.Config, Options) (*Node, error) { return nil, errors.New("not built yet") }

// Run serves until ctx ends, then drains.
func (n *Node) Run(context.Context) error { return errors.New("not built yet") }

// Addr is the public listener's address, empty until Run listens.
func (n *Node) Addr() string { return "" }
