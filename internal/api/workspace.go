package api

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// workspaceDoc is a realtime server in a list.
type workspaceDoc struct {
	ID      protocol.ServerID `json:"id"`
	Name    string            `json:"name"`
	Enabled bool              `json:"enabled"`
	Hash    string            `json:"hash"`
}

func docOf(s *policy.Server) workspaceDoc {
	return workspaceDoc{ID: s.ID, Name: s.Name, Enabled: s.Enabled, Hash: s.Hash}
}

func (a *API) listWorkspaces(req *request) error {
	q := req.query()
	limit := q.number("limit", maxPage, defaultPage)
	after := q.cursor()
	if err := q.end(); err != nil {
		return err
	}
	var last protocol.ServerID
	if after != "" {
		n, err := strconv.ParseInt(after, 10, 64)
		if err != nil {
			return ErrCursor
		}
		last = protocol.ServerID(n)
	}
	var items []workspaceDoc
	next := ""
	for _, s := range a.o.Settings.Current().Servers() {
		switch {
		case s.ID <= last || !req.key.covers(s.ID):
		case len(items) == limit:
			next = toCursor(strconv.FormatInt(int64(items[limit-1].ID), 10))
		default:
			items = append(items, docOf(s))
		}
	}
	return send(req.w, http.StatusOK, page(items, next))
}

func (a *API) createWorkspace(req *request) error {
	if req.key.server != 0 {
		return errKeyServer
	}
	body, err := req.body()
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	in, err := policy.DecodeServer(body, policy.Server{})
	switch {
	case err != nil:
		return err
	case in.ID != 0:
		return badField("id", "is given out by the server")
	}
	made, err := a.o.Settings.Create(req.r.Context(), in)
	if err != nil {
		return storeError(err)
	}
	a.log.Info("api: workspace created", "server", made.ID)
	req.w.Header().Set("Location", "/api:meta/workspace/"+strconv.FormatInt(int64(made.ID), 10))
	req.w.Header().Set("ETag", etag(made.Revision))
	return send(req.w, http.StatusCreated, docOf(made))
}

func (a *API) getWorkspace(req *request) error {
	s, err := a.readWorkspace(req)
	if err != nil {
		return err
	}
	return a.sendTagged(req, s.Revision, docOf(s))
}

// putWorkspace changes what a list shows of a workspace. What the body leaves out stays.
func (a *API) putWorkspace(req *request) error {
	s, err := a.change(req, func(s *policy.Server, body []byte) error {
		var doc struct {
			ID      *protocol.ServerID `json:"id"`
			Name    *string            `json:"name"`
			Enabled *bool              `json:"enabled"`
			Hash    *string            `json:"hash"`
		}
		if err := policy.Unmarshal(body, &doc); err != nil {
			return err
		}
		if doc.ID != nil && *doc.ID != s.ID {
			return badField("id", "cannot be changed")
		}
		set(&s.Name, doc.Name)
		set(&s.Enabled, doc.Enabled)
		set(&s.Hash, doc.Hash)
		return nil
	})
	if err != nil {
		return err
	}
	return a.sendTagged(req, s.Revision, docOf(s))
}

func (a *API) deleteWorkspace(req *request) error {
	id, err := req.workspace()
	if err != nil {
		return err
	}
	if req.key.server != 0 {
		return errKeyServer
	}
	if err := req.query().end(); err != nil {
		return err
	}
	expected, err := a.expected(req, id)
	if err != nil {
		return err
	}
	if err := a.o.Settings.Delete(req.r.Context(), id, expected); err != nil {
		return storeError(err)
	}
	a.log.Info("api: workspace removed", "server", id)
	req.w.WriteHeader(http.StatusNoContent)
	return nil
}

// readWorkspace finds the workspace in the path, for a request without parameters.
func (a *API) readWorkspace(req *request) (*policy.Server, error) {
	id, err := req.workspace()
	if err != nil {
		return nil, err
	}
	if err := req.query().end(); err != nil {
		return nil, err
	}
	return a.find(id)
}

func (a *API) find(id protocol.ServerID) (*policy.Server, error) {
	s := a.o.Settings.Current().ByID(id)
	if s == nil {
		return nil, errNoWorkspace
	}
	return s, nil
}

// expected gives the revision that If-Match asks for; 0 = it does not.
func (a *API) expected(req *request, id protocol.ServerID) (uint64, error) {
	header := req.r.Header.Get("If-Match")
	if header == "" {
		return 0, nil
	}
	s, err := a.find(id)
	if err != nil {
		return 0, err
	}
	if !matches(header, s.Revision) {
		return 0, policy.ErrConflict
	}
	return s.Revision, nil
}

// change applies the body of a request to the workspace in its path, by compare-and-set where If-Match asks for it.
func (a *API) change(req *request, apply func(s *policy.Server, body []byte) error) (*policy.Server, error) {
	id, err := req.workspace()
	if err != nil {
		return nil, err
	}
	if err := req.query().end(); err != nil {
		return nil, err
	}
	body, err := req.body()
	if err != nil {
		return nil, err
	}
	expected, err := a.expected(req, id)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	s, err := a.o.Settings.Update(req.r.Context(), id, expected, func(s *policy.Server) error { return apply(s, body) })
	if err != nil {
		return nil, storeError(err)
	}
	a.log.Info("api: settings changed", "server", id, "revision", s.Revision, "duration", time.Since(began))
	return s, nil
}

// sendTagged answers with the entity tag of the settings, or that nothing has changed.
func (a *API) sendTagged(req *request, revision uint64, v any) error {
	req.w.Header().Set("ETag", etag(revision))
	if h := req.r.Header.Get("If-None-Match"); h != "" && req.r.Method != http.MethodPut && matches(h, revision) {
		req.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return send(req.w, http.StatusOK, v)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
