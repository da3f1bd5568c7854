package presence

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// What another attempt may cure is tried again: brokers that are not there yet, somebody else who makes the same stream.
func TestPermanent(t *testing.T) {
	for _, c := range []struct {
		code  int
		err   jetstream.ErrorCode
		final bool
	}{
		{400, errNoPeers, false},
		{400, jetstream.JSErrCodeStreamNameInUse, false},
		{503, 10008, false},
		{400, 10025, true},
		{500, errInvalidConfig, true},
	} {
		err := fmt.Errorf("make: %w", &jetstream.APIError{Code: c.code, ErrorCode: c.err})
		if permanent(err) != c.final {
			t.Errorf("%d %d: permanent %v", c.code, c.err, !c.final)
		}
	}
	if permanent(errors.New("timeout")) {
		t.Error("a timeout is permanent")
	}
}
