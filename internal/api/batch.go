package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// resultDoc answers one event of a batch: a receipt, or an error with the status it would have had alone.
type resultDoc struct {
	*receiptDoc

	Error *batchErrorDoc `json:"error,omitempty"`
}

type batchErrorDoc struct {
	Status  int           `json:"status"`
	Code    protocol.Code `json:"code"`
	Message string        `json:"message"`
}

// draft is an event of a batch on its way.
type draft struct {
	doc   eventDoc
	event Event
	err   error
}

// postBatch publishes many events. A body that is not well formed is refused as a whole; what is wrong with single
// events otherwise is answered for each, or, when they are to be stored all or none, refuses all.
func (a *API) postBatch(req *request) error {
	if err := req.query().end(); err != nil {
		return err
	}
	body, err := req.body()
	if err != nil {
		return err
	}
	drafts, atomic, err := parseBatch(body)
	if err != nil {
		return err
	}
	events := make([]Event, 0, len(drafts))
	for i := range drafts {
		d := &drafts[i]
		if d.err = a.complete(req.server, &d.doc, &d.event, atomic); d.err == nil {
			events = append(events, d.event)
			continue
		}
		if atomic {
			a.metrics.event(false, d.err)
			return &BatchError{Index: i, Err: d.err}
		}
	}
	results, err := a.publishBatch(req.r.Context(), events, atomic)
	if err != nil {
		for range events {
			a.metrics.event(false, err)
		}
		return publishError(err)
	}
	items := make([]resultDoc, len(drafts))
	for i := range drafts {
		err, receipt := drafts[i].err, protocol.Receipt{}
		if err == nil {
			err, receipt = publishError(results[0].Err), results[0].Receipt
			results = results[1:]
		}
		a.metrics.event(receipt.Position.Offset != 0, err)
		items[i] = a.resultOf(receipt, err)
	}
	return send(req.w, http.StatusOK, page(items, ""))
}

func (a *API) publishBatch(ctx context.Context, events []Event, atomic bool) ([]Result, error) {
	if len(events) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	results, err := a.o.Backend.PublishBatch(ctx, events, atomic)
	switch {
	case err != nil:
		return nil, err
	case len(results) != len(events):
		return nil, fmt.Errorf("%d results for %d events", len(results), len(events))
	}
	return results, nil
}

func (a *API) resultOf(receipt protocol.Receipt, err error) resultDoc {
	if err == nil {
		r := receiptOf(receipt)
		return resultDoc{receiptDoc: &r}
	}
	e := classify(err)
	if e.Code == protocol.CodeInternal {
		a.log.Error("api: event of a batch failed", "err", err)
	}
	return resultDoc{Error: &batchErrorDoc{Status: e.status, Code: e.Code, Message: e.Message}}
}

// parseBatch checks the form of a whole batch.
func parseBatch(body []byte) ([]draft, bool, error) {
	var doc struct {
		Events *[]jsontext.Value `json:"events"`
		Atomic *bool             `json:"atomic"`
	}
	if err := policy.Unmarshal(body, &doc); err != nil {
		return nil, false, err
	}
	switch {
	case doc.Events == nil:
		return nil, false, badField("events", "is required")
	case len(*doc.Events) > maxBatch:
		return nil, false, badField("events", "has %d entries, at most %d are allowed", len(*doc.Events), maxBatch)
	}
	drafts := make([]draft, len(*doc.Events))
	for i, raw := range *doc.Events {
		err := policy.Unmarshal(raw, &drafts[i].doc)
		if err == nil {
			drafts[i].event, err = drafts[i].doc.form()
		}
		if err != nil {
			return nil, false, policy.Within(fmt.Sprintf("events[%d]", i), err)
		}
	}
	return drafts, doc.Atomic != nil && *doc.Atomic, nil
}
