package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	streamBeat  = 15 * time.Second // a comment this often keeps proxies from cutting an idle stream
	streamWrite = 10 * time.Second // how long a client may take to accept an event
)

// getLifecycle answers lifecycle events behind a cursor: at once, or when there are some, or as a stream.
func (a *API) getLifecycle(req *request) error {
	q := req.query()
	after := q.text("after")
	limit := q.number("limit", maxPage, defaultPage)
	wait := q.wait()
	if err := q.end(); err != nil {
		return err
	}
	if a.o.Lifecycle == nil {
		return errLifecycleOff
	}
	stream := strings.Contains(req.r.Header.Get("Accept"), "text/event-stream")
	if stream || wait > 0 {
		select {
		case <-a.drained:
			return errOverloaded
		default:
		}
		select {
		case a.waiting <- struct{}{}:
			defer func() { <-a.waiting }()
		default:
			return errOverloaded
		}
	}
	ctx, cancel := context.WithCancel(req.r.Context())
	defer cancel()
	defer a.endOnDrain(cancel)()
	if stream {
		if id := req.r.Header.Get("Last-Event-ID"); id != "" {
			after = id // a client that comes back
		}
		return a.streamLifecycle(ctx, req, after, limit)
	}
	found, err := a.readLifecycle(ctx, req, after, limit, wait)
	if err != nil {
		return err
	}
	return send(req.w, http.StatusOK, page(found.Items, found.Next))
}

// wait gives how long to wait, in seconds or as a duration such as 20s.
func (q *query) wait() time.Duration {
	text := q.text("wait")
	if !q.values.Has("wait") {
		return 0
	}
	d, err := time.ParseDuration(text)
	if n, numErr := strconv.Atoi(text); numErr == nil {
		d, err = time.Duration(min(n, int(maxWait/time.Second)))*time.Second, nil
	}
	if err != nil || d < 0 {
		q.fail("wait", "must be seconds, or a duration such as 20s")
		return 0
	}
	return min(d, maxWait)
}

// lifecycleLook is how long a read may take that does not wait.
const lifecycleLook = 5 * time.Second

// readLifecycle reads what is there, and when that is nothing waits up to a time for the first event.
func (a *API) readLifecycle(ctx context.Context, req *request, after string, limit int, wait time.Duration) (LifecyclePage, error) {
	look, cancel := context.WithTimeout(ctx, lifecycleLook)
	found, err := a.o.Lifecycle.Read(look, req.server, after, limit, false)
	cancel()
	if err != nil || len(found.Items) > 0 || wait == 0 {
		return found, err
	}
	patient, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	found, err = a.o.Lifecycle.Read(patient, req.server, after, limit, true)
	if err != nil && patient.Err() != nil {
		// Nothing came in time, or the node drains: no reason to say more than that.
		return LifecyclePage{Next: after}, nil
	}
	return found, err
}

// streamLifecycle sends Server-Sent Events until the client goes away or the node drains.
func (a *API) streamLifecycle(ctx context.Context, req *request, after string, limit int) error {
	// The first read comes before the header, so that a bad cursor is still an ordinary error.
	found, err := a.readLifecycle(ctx, req, after, limit, 0)
	if err != nil {
		return err
	}
	out := http.NewResponseController(req.w)
	h := req.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	req.w.WriteHeader(http.StatusOK)
	for {
		// Not every writer has deadlines; then the server's own one counts.
		_ = out.SetWriteDeadline(time.Now().Add(streamWrite))
		if err := writeEvents(req.w, found); err != nil {
			return nil //nolint:nilerr // the client went away
		}
		if err := out.Flush(); err != nil {
			return nil //nolint:nilerr // as above
		}
		if found.Next != "" {
			after = found.Next
		}
		found, err = a.readLifecycle(ctx, req, after, limit, streamBeat)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			e := classify(err)
			a.log.Warn("api: stream of lifecycle events ended", "server", req.server.ID, "code", e.Code, "err", err)
			b, _ := json.Marshal(e) // plain strings
			_, _ = fmt.Fprintf(req.w, "event: error\ndata: %s\n\n", b)
			return nil
		}
	}
}

// writeEvents writes a page as Server-Sent Events; an empty one is a comment that keeps the stream alive.
func writeEvents(w http.ResponseWriter, p LifecyclePage) error {
	if len(p.Items) == 0 {
		_, err := fmt.Fprint(w, ": nothing new\n\n")
		return err //nolint:wrapcheck // only whether it failed matters
	}
	for i := range p.Items {
		e := &p.Items[i]
		data, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode lifecycle event: %w", err)
		}
		if _, err := fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", e.Cursor, e.Type, data); err != nil {
			return err //nolint:wrapcheck // only whether it failed matters
		}
	}
	return nil
}

// endOnDrain cancels a request when the node drains. What it gives must be called at the request's end.
func (a *API) endOnDrain(cancel func()) func() {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-a.drained:
			cancel()
		case <-over:
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}
