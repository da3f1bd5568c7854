package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// Errors that a Backend or Lifecycle may return besides *protocol.Error.
var (
	// ErrOffsetConflict: expect_offset is not the newest offset. 409.
	ErrOffsetConflict = errors.New("the channel has moved on")
	// ErrAtomicUnsupported: these events cannot be stored together. 422.
	ErrAtomicUnsupported = errors.New("the store cannot keep these events together")
	// ErrAtomicLimit: too many events for one atomic batch. 422.
	ErrAtomicLimit = errors.New("too many events for an atomic batch")
	// ErrAtomicSpread: the channels of an atomic batch live in different shards. 422.
	ErrAtomicSpread = errors.New("the channels live in different shards")
	// ErrAtomicOrder: an offset is expected of a channel the batch itself has written to. 422.
	ErrAtomicOrder = errors.New("an offset is expected behind another event of the batch")
	// ErrIDUsed: an event with the id of one in an atomic batch was stored before. 409.
	ErrIDUsed = errors.New("the id was stored before")
	// ErrPatternPaging: before and after mean nothing across the channels of a pattern. 422.
	ErrPatternPaging = errors.New("before and after cannot be used with a pattern")
	// ErrUnavailable: the broker, or another gateway, does not answer what was asked. 503.
	ErrUnavailable = errors.New("the broker does not answer")
	// ErrCursor: the cursor is none of ours. 400.
	ErrCursor = errors.New("unknown cursor")
	// ErrCursorExpired: what is behind the cursor is no longer kept. 410.
	ErrCursorExpired = errors.New("events behind the cursor are no longer kept")
)

// BatchError says which event made an atomic batch fail.
type BatchError struct {
	Index int
	Err   error
}

// Error makes it an error.
func (e *BatchError) Error() string { return fmt.Sprintf("events[%d]: %v", e.Index, e.Err) }

// Unwrap gives the event's own error.
func (e *BatchError) Unwrap() error { return e.Err }

// Codes of ours besides those of protocol.
const (
	codeNotFound         protocol.Code = "not_found"
	codeMethodNotAllowed protocol.Code = "method_not_allowed"
	codeUnauthorized     protocol.Code = "unauthorized"
	codeScope            protocol.Code = "insufficient_scope"
	codeAdminOff         protocol.Code = "admin_api_off"
	codeAPIOff           protocol.Code = "api_off"
	codeRealtimeOff      protocol.Code = "realtime_disabled"
	codeLifecycleOff     protocol.Code = "lifecycle_off"
	codeInvalidField     protocol.Code = "invalid_field"
	codeInvalidParameter protocol.Code = "invalid_parameter"
	codeInvalidBody      protocol.Code = "invalid_body"
	codeConflict         protocol.Code = "conflict"
	codeReadOnly         protocol.Code = "read_only"
	codeHistoryRequired  protocol.Code = "history_required"
	codeAtomic           protocol.Code = "atomic_unsupported"
	codeAtomicLimit      protocol.Code = "atomic_limit"
	codePatternPaging    protocol.Code = "pattern_paging"
	codeCursorExpired    protocol.Code = "cursor_expired"
)

// statusError is an error with its answer.
type statusError struct {
	status     int
	retryAfter int // seconds; 0 = not said

	Code    protocol.Code `json:"code"`
	Message string        `json:"message"`
	// Field is the parameter or field that is wrong.
	Field string `json:"field,omitempty"`
	// Index is the event of an atomic batch.
	Index *int `json:"index,omitempty"`
}

// Error makes it an error.
func (e *statusError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// methodError is a path that is there, but not for this method.
type methodError struct{ allow string }

// Error makes it an error.
func (e *methodError) Error() string { return "method not allowed" }

var (
	errNoPath      = &statusError{status: http.StatusNotFound, Code: codeNotFound, Message: "There is no such path."}
	errNoWorkspace = &statusError{status: http.StatusNotFound, Code: codeNotFound, Message: "There is no such workspace."}
	errNoRule      = &statusError{status: http.StatusNotFound, Code: codeNotFound, Message: "There is no such channel rule."}
	errUnknownHash = &statusError{status: http.StatusNotFound, Code: protocol.CodeUnknownHash, Message: protocol.ErrUnknownHash.Message}
	errRealtimeOff = &statusError{status: http.StatusNotFound, Code: codeRealtimeOff, Message: "Realtime is disabled for this workspace."}
	errNoKey       = &statusError{status: http.StatusUnauthorized, Code: codeUnauthorized, Message: "The header Authorization: Bearer KEY is missing."}
	errBadKey      = &statusError{status: http.StatusUnauthorized, Code: codeUnauthorized, Message: "The key is not valid."}
	errScope       = &statusError{status: http.StatusForbidden, Code: codeScope, Message: "The key may not do this."}
	errKeyServer   = &statusError{status: http.StatusForbidden, Code: codeScope, Message: "The key is for another workspace."}
	errAdminOff    = &statusError{
		status: http.StatusForbidden, Code: codeAdminOff,
		Message: "The settings API is off: no admin_token (FANFARE_ADMIN_TOKEN) is configured.",
	}
	errAPIOff = &statusError{
		status: http.StatusForbidden, Code: codeAPIOff,
		Message: "The server API is off: no api_keys (FANFARE_API_KEYS) are configured.",
	}
	errLifecycleOff = &statusError{
		status: http.StatusNotFound, Code: codeLifecycleOff,
		Message: "Lifecycle events are off: lifecycle.retention (FANFARE_LIFECYCLE_RETENTION) is 0.",
	}
	errBodyTooLarge = &statusError{
		status: http.StatusRequestEntityTooLarge, Code: protocol.CodeTooLarge, Message: "The body is larger than 1 MiB.",
	}
	errHistoryRequired = &statusError{
		status: http.StatusUnprocessableEntity, Code: codeHistoryRequired,
		Message: "store, id, expect_offset and atomic need a channel that keeps history.",
	}
	errOverloaded = &statusError{
		status: http.StatusServiceUnavailable, Code: protocol.CodeOverloaded, retryAfter: 5,
		Message: "Too many requests are waiting. Try again later.",
	}
)

func badParameter(name, format string, args ...any) error {
	return &statusError{
		status: http.StatusBadRequest, Code: codeInvalidParameter, Field: name, Message: name + " " + fmt.Sprintf(format, args...) + ".",
	}
}

func badField(name, format string, args ...any) error {
	return &policy.FieldError{Field: name, Problem: fmt.Sprintf(format, args...)}
}

// classify finds the answer to an error. The answer to one that nobody expects says nothing about it.
func classify(err error) *statusError {
	answer := func(status int, code protocol.Code, message string) *statusError {
		return &statusError{status: status, Code: code, Message: message}
	}
	if e, ok := errors.AsType[*BatchError](err); ok {
		c := *classify(e.Err)
		c.Index, c.Message = &e.Index, fmt.Sprintf("events[%d]: %s", e.Index, c.Message)
		return &c
	}
	if e, ok := errors.AsType[*statusError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*policy.FieldError](err); ok {
		c := answer(http.StatusBadRequest, codeInvalidField, e.Error()+".")
		if e.Field == "" {
			c.Code, c.Message = codeInvalidBody, "The body "+e.Problem+"."
		}
		c.Field = e.Field
		return c
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		c := answer(statusOf(e.Code), e.Code, e.Message)
		c.retryAfter = e.RetryAfter
		return c
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge
	}
	switch {
	case errors.Is(err, policy.ErrNotFound):
		return errNoWorkspace
	case errors.Is(err, policy.ErrConflict):
		return answer(http.StatusConflict, codeConflict, "The settings were changed by somebody else. Read them again.")
	case errors.Is(err, policy.ErrReadOnly):
		return answer(http.StatusForbidden, codeReadOnly, "The settings come from settings_file and cannot be changed here.")
	case errors.Is(err, ErrOffsetConflict):
		return answer(http.StatusConflict, codeConflict, "expect_offset is not the channel's newest offset.")
	case errors.Is(err, ErrAtomicUnsupported):
		return answer(http.StatusUnprocessableEntity, codeAtomic, "The store cannot keep these events all or none. Nothing was published.")
	case errors.Is(err, ErrAtomicLimit):
		return answer(http.StatusUnprocessableEntity, codeAtomicLimit, "These are too many events for an atomic batch. Nothing was published.")
	case errors.Is(err, ErrAtomicSpread):
		return answer(http.StatusUnprocessableEntity, codeAtomicLimit, "The store spreads channels over shards, and an atomic "+
			"batch stays within one. Give the channels a common tag in braces, for example {order7}/items and {order7}/log: "+
			"only the tag then decides where they live. Nothing was published.")
	case errors.Is(err, ErrAtomicOrder):
		return answer(http.StatusUnprocessableEntity, codeAtomicLimit, "In an atomic batch expect_offset can stand at a channel's "+
			"first event only. Nothing was published.")
	case errors.Is(err, ErrIDUsed):
		return answer(http.StatusConflict, codeConflict, "An event with this id was stored before, and others of the batch were not. "+
			"Nothing was published.")
	case errors.Is(err, ErrPatternPaging):
		return answer(http.StatusUnprocessableEntity, codePatternPaging, "before and after are offsets of one channel and cannot be used with a pattern.")
	case errors.Is(err, ErrCursor):
		return answer(http.StatusBadRequest, codeInvalidParameter, "The cursor is not one of ours.")
	case errors.Is(err, ErrCursorExpired):
		return answer(http.StatusGone, codeCursorExpired, "Events behind this cursor are no longer kept. Start again without one.")
	case errors.Is(err, ErrUnavailable):
		return answer(http.StatusServiceUnavailable, protocol.CodeUnavailable, "The message broker, or a gateway behind it, does not answer. Try again.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return answer(http.StatusServiceUnavailable, protocol.CodeUnavailable, "The answer took too long. Try again.")
	}
	return answer(http.StatusInternalServerError, protocol.CodeInternal, protocol.ErrInternal.Message)
}

// statusOf gives the status for a code of the wire.
func statusOf(code protocol.Code) int {
	switch code { //nolint:exhaustive // the rest is not for HTTP
	case protocol.CodeChannelNotFound, protocol.CodeRecipientNotFound, protocol.CodeUnknownHash:
		return http.StatusNotFound
	case protocol.CodeInvalidMessage, protocol.CodeInvalidChannel, protocol.CodePatternSend:
		return http.StatusBadRequest
	case protocol.CodeTooLarge, protocol.CodeTooDeep, protocol.CodePresenceDisabled, protocol.CodeMessageRejected:
		return http.StatusUnprocessableEntity
	case protocol.CodeRateLimited:
		return http.StatusTooManyRequests
	case protocol.CodeUnavailable, protocol.CodeOverloaded:
		return http.StatusServiceUnavailable
	case protocol.CodeUnknownOutcome:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// sentence makes an error's text one for people.
func sentence(err error) string {
	text := err.Error()
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(text[size:], ".") + "."
}
