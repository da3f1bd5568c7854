package api

import (
	"errors"
	"fmt"
	"net/http"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// realtimeDoc is all settings of a realtime server: Xano's JSON, with our fields where they are set.
type realtimeDoc struct {
	Enabled  bool          `json:"enabled"`
	Hash     string        `json:"hash"`
	Strict   bool          `json:"strict,omitzero"`
	Channels []policy.Rule `json:"channels"`

	LifecycleWebhooks []policy.LifecycleWebhook `json:"lifecycle_webhooks,omitempty"`
}

// settingsOf gives the settings as they are answered: secrets masked, unless they are asked for by name (to move
// the settings elsewhere).
func settingsOf(s *policy.Server, secrets bool) realtimeDoc {
	c := s.Clone()
	if !secrets {
		c = s.Masked()
	}
	return realtimeDoc{Enabled: c.Enabled, Hash: c.Hash, Strict: c.Strict, Channels: c.Channels, LifecycleWebhooks: c.LifecycleWebhooks}
}

func (a *API) getRealtime(req *request) error {
	id, err := req.workspace()
	if err != nil {
		return err
	}
	q := req.query()
	secrets := q.boolean("include_secrets")
	if err := q.end(); err != nil {
		return err
	}
	s, err := a.find(id)
	if err != nil {
		return err
	}
	return a.sendTagged(req, s.Revision, settingsOf(s, secrets != nil && *secrets))
}

// putRealtime replaces the settings. Members that the body does not have stay as they are; a list of channels
// replaces the list.
func (a *API) putRealtime(req *request) error {
	s, err := a.change(req, func(s *policy.Server, body []byte) error {
		next, err := policy.DecodeServer(body, *s)
		switch {
		case err != nil:
			return err
		case next.ID != s.ID:
			return badField("id", "is %d, the path says %d", next.ID, s.ID)
		}
		policy.Unmask(next.Channels, s)
		policy.UnmaskWebhooks(next.LifecycleWebhooks, s)
		*s = next
		return nil
	})
	if err != nil {
		return err
	}
	return a.sendTagged(req, s.Revision, settingsOf(s, false))
}

// storeError tells errors that the store is meant to answer from its being out of reach.
func storeError(err error) error {
	if _, ok := errors.AsType[*statusError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*policy.FieldError](err); ok {
		return err
	}
	for _, known := range []error{policy.ErrNotFound, policy.ErrConflict, policy.ErrReadOnly} {
		if errors.Is(err, known) {
			return err
		}
	}
	return &unreachableError{err: err}
}

// unreachableError is a store that does not answer.
type unreachableError struct{ err error }

// Error makes it an error.
func (e *unreachableError) Error() string { return fmt.Sprintf("settings store: %v", e.err) }

// Unwrap gives the cause, and the answer.
func (e *unreachableError) Unwrap() []error {
	return []error{e.err, &statusError{
		status: http.StatusServiceUnavailable, Code: protocol.CodeUnavailable,
		Message: "The settings could not be stored: the broker does not answer. Read them again before you retry.",
	}}
}
