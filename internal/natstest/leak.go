package natstest

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyMain runs the tests of a package that starts NATS servers and fails when goroutines are left over, but for
// those of nats-server 2.15 that it forgets itself when it is stopped at the wrong moment: while an atomic batch, a
// stream or a consumer is being made. A server that was not stopped is seen all the same, by its other goroutines.
func VerifyMain(m *testing.M, options ...goleak.Option) {
	const server = "github.com/nats-io/nats-server/v2/server"
	for _, name := range []string{
		server + ".(*msgBlock).flushLoop", server + ".(*fileStore).flushStreamStateLoop", server + "/ats.Register.func1",
		server + ".(*ipQueue[...]).pop", server + ".(*consumerFileStore).flushLoop",
	} {
		options = append(options, goleak.IgnoreAnyFunction(name))
	}
	goleak.VerifyTestMain(m, options...)
}
