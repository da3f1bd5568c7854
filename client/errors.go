package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"fanfare/protocol"
)

// Errors of this package. Refusals by the server are *protocol.Error, with its code.
var (
	// ErrClosed: Close was called.
	ErrClosed = errors.New("client is closed")
	// ErrLeft: the channel was left.
	ErrLeft = errors.New("channel was left")
	// ErrNotJoined: the call needs a joined channel.
	ErrNotJoined = errors.New("channel is not joined")
	// ErrJoined: the channel is joined already, by this or another Channel of the client.
	ErrJoined = errors.New("channel is joined already")
	// ErrUnknownOutcome: the message may or may not have been accepted.
	ErrUnknownOutcome = errors.New("outcome is unknown")
)

// CloseError is a connection that the server ended for good: it should not be dialled again.
type CloseError struct {
	Code   protocol.CloseCode
	Reason string
	// Cause is what the server said before, for example unknown_hash; nil = nothing.
	Cause *protocol.Error
}

func (e *CloseError) Error() string {
	text := fmt.Sprintf("server closed the connection with %d", e.Code)
	if e.Reason != "" {
		text += " " + e.Reason
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *CloseError) Unwrap() error {
	if e.Cause == nil {
		return nil
	}
	return e.Cause
}

// HandshakeError is an upgrade that the server refused.
type HandshakeError struct {
	Status     int
	RetryAfter time.Duration // 0 = not said
	Err        error
}

func (e *HandshakeError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("dial: %v", e.Err)
	}
	return fmt.Sprintf("dial: HTTP %d", e.Status)
}

// Unwrap gives the error of the transport.
func (e *HandshakeError) Unwrap() error { return e.Err }

// busy tells whether the server asked to come back.
func (e *HandshakeError) busy() bool { return e.Status == 503 || e.Status == 429 }

// final tells whether a closed connection must not be dialled again, and why. The server's restart, overload
// and errors are worth another try, as is a connection that just broke; a verdict about us is not.
func final(err error) (*CloseError, bool) {
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		return nil, false
	}
	switch closed.Code {
	case websocket.StatusGoingAway, websocket.StatusNoStatusRcvd, websocket.StatusInternalError,
		websocket.StatusServiceRestart, websocket.StatusTryAgainLater, websocket.StatusBadGateway,
		websocket.StatusCode(protocol.CloseReconnecting):
		return nil, false
	}
	return &CloseError{Code: protocol.CloseCode(closed.Code), Reason: closed.Reason}, true
}

func unknownOutcome(err error) error { return fmt.Errorf("%w: %w", ErrUnknownOutcome, err) }
