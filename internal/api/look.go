package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"fanfare/protocol"
)

// listChannels answers channels with somebody on them, or the state of those asked for by name.
func (a *API) listChannels(req *request) error {
	q := req.query()
	names := q.names("channel")
	query := ChannelsQuery{
		Server: req.server,
		Prefix: q.text("prefix"),
		Limit:  q.number("limit", maxPage, defaultPage),
		After:  protocol.Channel(q.cursor()),
	}
	if err := q.end(); err != nil {
		return err
	}
	for _, name := range names {
		ch, _, err := a.findRule(req.server, name)
		if err != nil {
			return err
		}
		query.Names = append(query.Names, ch)
	}
	ctx, cancel := context.WithTimeout(req.r.Context(), callTimeout)
	defer cancel()
	found, err := a.o.Backend.Channels(ctx, query)
	if err != nil {
		return err
	}
	next := ""
	if n := len(found.Items); found.More && n > 0 && query.Names == nil {
		next = toCursor(string(found.Items[n-1].Channel))
	}
	return send(req.w, http.StatusOK, page(found.Items, next))
}

// getPresence answers who is on a channel.
func (a *API) getPresence(req *request) error {
	q := req.query()
	query := PresenceQuery{
		Server: req.server,
		Limit:  q.number("limit", maxPage, defaultPage),
		After:  q.cursor(),
	}
	err := q.end()
	if err != nil {
		return err
	}
	if query.Channel, query.Rule, err = a.findRule(req.server, req.params["channel"]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(req.r.Context(), callTimeout)
	defer cancel()
	found, err := a.o.Backend.Presence(ctx, query)
	if err != nil {
		return err
	}
	next := ""
	if found.Next != "" {
		next = toCursor(found.Next)
	}
	return send(req.w, http.StatusOK, page(found.Items, next))
}

// historyDoc is a page of history.
type historyDoc struct {
	Items []json.RawMessage `json:"items"`
	Times []time.Time       `json:"times,omitempty"`
	More  bool              `json:"more"`
}

// getHistory answers what was stored, oldest first.
func (a *API) getHistory(req *request) error {
	q := req.query()
	query := HistoryQuery{
		Server: req.server,
		Limit:  q.number("limit", a.o.Limits.HistoryFrames, min(defaultPage, a.o.Limits.HistoryFrames)),
		Before: q.offset("before"),
		After:  q.offset("after"),
		Since:  q.moment("since"),
	}
	times := q.boolean("times")
	if q.values.Has("before") && (q.values.Has("after") || q.values.Has("since")) {
		q.fail("before", "cannot be used together with after or since")
	}
	err := q.end()
	if err != nil {
		return err
	}
	if query.Channel, query.Rule, err = a.findRule(req.server, req.params["channel"]); err != nil {
		return err
	}
	if query.Channel.IsPattern() && (query.Before != nil || query.After != nil) {
		return ErrPatternPaging
	}
	if !query.Rule.AllowHistory() {
		return send(req.w, http.StatusOK, historyDoc{Items: []json.RawMessage{}})
	}
	ctx, cancel := context.WithTimeout(req.r.Context(), callTimeout)
	defer cancel()
	found, err := a.o.Backend.History(ctx, query)
	if err != nil {
		return err
	}
	doc := bounded(found, query.After == nil && query.Since.IsZero())
	if times == nil || !*times {
		doc.Times = nil
	}
	return send(req.w, http.StatusOK, doc)
}

// bounded cuts a page to what one answer may hold, from its far end: the older ones when the newest were asked for,
// else the newer ones. At least one frame is left, so that paging goes on.
func bounded(p HistoryPage, newest bool) historyDoc {
	out := historyDoc{Items: p.Frames, Times: p.Times, More: p.More}
	if out.Items == nil {
		out.Items = []json.RawMessage{}
	}
	size := 0
	for i := range out.Items {
		at := i
		if newest {
			at = len(out.Items) - 1 - i
		}
		size += len(out.Items[at])
		if size <= maxAnswerBytes || i == 0 {
			continue
		}
		from, to := 0, at
		if newest {
			from, to = at+1, len(out.Items)
		}
		out.Items, out.More = out.Items[from:to], true
		if len(out.Times) == len(p.Frames) {
			out.Times = out.Times[from:to]
		}
		return out
	}
	return out
}
