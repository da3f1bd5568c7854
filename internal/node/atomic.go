package node

import (
	"context"
	"errors"

	"fanfare/broker"
	"fanfare/internal/api"
	"fanfare/protocol"
)

// publishAtomic stores all events or none.
func (b *backend) publishAtomic(ctx context.Context, events []api.Event) ([]api.Result, error) {
	items := make([]broker.BatchItem, len(events))
	done := make([]func(protocol.Receipt, error), len(events))
	for i := range events {
		e := &events[i]
		// The gateway makes the frames and wants to hear of each what came of it.
		b.gateway.PublishExpecting(b.publication(e), e.Data, func(p *protocol.Publication, answer func(protocol.Receipt, error)) {
			items[i], done[i] = broker.BatchItem{Publication: p, Expect: e.ExpectOffset}, answer
		}, func(protocol.Receipt, error) {})
	}
	receipts, err := b.broker.PublishBatch(ctx, items)
	results := make([]api.Result, len(events))
	port := brokerPort{b.broker, b.history, b.settings}
	for i := range events {
		if err == nil {
			results[i].Receipt = receipts[i]
		}
		port.kept(items[i].Publication, results[i].Receipt, err)
		done[i](results[i].Receipt, err)
	}
	if err != nil {
		return nil, atomicError(err)
	}
	return results, nil
}

// atomicError says it in the words of the API.
func atomicError(err error) error {
	item, named := errors.AsType[*broker.ItemError](err)
	switch {
	case errors.Is(err, broker.ErrSpread):
		err = api.ErrAtomicSpread
	case errors.Is(err, broker.ErrOrder):
		err = api.ErrAtomicOrder
	case errors.Is(err, broker.ErrOffset):
		err = api.ErrOffsetConflict
	case errors.Is(err, broker.ErrUsed):
		err = api.ErrIDUsed
	case errors.Is(err, broker.ErrBatchLimit):
		return api.ErrAtomicLimit
	case named:
		err = item.Err
	}
	if named && item.Index >= 0 {
		return &api.BatchError{Index: item.Index, Err: err}
	}
	return err
}
