package api

import (
	"context"
	"errors"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

var errBroker = errors.New("nats: timeout at 10.1.2.3")

// broken is a store that can be read but not written.
type broken struct{ Settings }

func (broken) Create(context.Context, policy.Server) (*policy.Server, error) { return nil, errBroker }

func (broken) Update(context.Context, protocol.ServerID, uint64, func(*policy.Server) error) (*policy.Server, error) {
	return nil, errBroker
}

func (broken) Delete(context.Context, protocol.ServerID, uint64) error { return errBroker }
