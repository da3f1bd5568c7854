package trigger

import (
	"context"
	"errors"
	"fmt"

	"fanfare/protocol"
)

// Verdict is what the triggers of a rule have said.
type Verdict uint8

// The verdicts. Only Passed comes with a nil error.
const (
	// Passed: go on.
	Passed Verdict = iota
	// Rejected: a trigger said no.
	Rejected
	// Failed: a trigger could not be asked, and its rule says block.
	Failed
)

// String names the verdict for logs.
func (v Verdict) String() string {
	switch v {
	case Passed:
		return "passed"
	case Rejected:
		return "rejected"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// The closed set of the outcome label; all from outcomeTimeout on are failures.
const (
	outcomeOK       = "ok"
	outcomeRejected = "rejected"

	outcomeTimeout  = "timeout"       // no answer in time
	outcomeConnect  = "connect"       // no connection, TLS included
	outcomeDropped  = "dropped"       // the connection ended before the answer did
	outcomeStatus   = "status"        // neither 2xx nor 3xx
	outcomeRedirect = "redirect"      // 3xx
	outcomeAnswer   = "bad_answer"    // not JSON, not UTF-8, too deep
	outcomeTooLarge = "too_large"     // more than Limits.AnswerBytes
	outcomeAddress  = "address"       // not a public address
	outcomeBreaker  = "breaker_open"  // not called: it has been failing
	outcomeBusy     = "busy"          // not called: too many calls under way
	outcomeConfig   = "configuration" // the trigger itself cannot be used
	outcomeCanceled = "canceled"      // the client has gone
)

// failure is why a call gave no answer.
type failure struct {
	outcome string
	err     error
	// hurried: the time was up early because most of it had gone in waiting for a slot, or because the caller's
	// own deadline was near. That says nothing about the endpoint.
	hurried bool
}

func (f *failure) Error() string { return fmt.Sprintf("trigger: %s: %v", f.outcome, f.err) }
func (f *failure) Unwrap() error { return f.err }

func failed(outcome string, err error) *failure { return &failure{outcome: outcome, err: err} }

// trips tells whether a failure speaks against the endpoint being alive.
func trips(err error) bool {
	var f *failure
	if !errors.As(err, &f) {
		return false
	}
	switch f.outcome {
	case outcomeTimeout:
		return !f.hurried
	case outcomeConnect, outcomeDropped:
		return true
	case outcomeStatus:
		return errors.Is(f.err, errGatewayStatus)
	}
	return false
}

var (
	errGatewayStatus = errors.New("the server in front of it cannot reach it")
	errStatus        = errors.New("status is not 2xx")
	errSlots         = errors.New("too many calls under way")
	errEndpoints     = errors.New("too many endpoints in use")
)

// errJoinFailed is to a join what protocol.ErrTriggerFailed is to a message.
var errJoinFailed = &protocol.Error{Code: protocol.CodeTriggerFailed, Message: "Join was rejected."}

// clientError gives what the client is told, wrapped around why.
func clientError(action Action, why error) error {
	wire := protocol.ErrTriggerFailed
	if action == Join {
		wire = errJoinFailed
	}
	return fmt.Errorf("%w: %w", wire, why)
}

func gone(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }
