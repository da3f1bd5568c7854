package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"fanfare/protocol"
)

// answer notes the status on its way out.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write sends a 200 when no status was set.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// send writes a value as JSON.
func send(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the caller went away: nobody is left to tell
	return nil
}

// list is a page of things. Items is never null.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

func page[T any](items []T, next string) list[T] {
	l := list[T]{Items: items}
	if l.Items == nil {
		l.Items = []T{}
	}
	if next != "" {
		l.Next = &next
	}
	return l
}

// fail answers an error.
func (a *API) fail(w *answer, r *http.Request, route string, err error) {
	if w.status != 0 {
		return // an answer is under way already
	}
	if m, ok := errors.AsType[*methodError](err); ok {
		w.Header().Set("Allow", m.allow)
		err = &statusError{
			status: http.StatusMethodNotAllowed, Code: codeMethodNotAllowed,
			Message: "This path answers " + m.allow + " only.",
		}
	}
	e := classify(err)
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="fanfare"`)
	}
	retry := e.retryAfter
	if retry == 0 && e.status == http.StatusServiceUnavailable {
		retry = 1
	}
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retry))
	}
	if e.Code == protocol.CodeInternal && r.Context().Err() == nil {
		a.log.Error("api: request failed", "route", route, "err", err)
	}
	if err := send(w, e.status, e); err != nil {
		a.log.Error("api: error cannot be answered", "route", route, "err", err)
	}
}
