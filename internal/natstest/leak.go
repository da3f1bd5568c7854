package natstest

import (
	"testing"
	"time"

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
	goleak.VerifyTestMain(settled{m, options}, options...)
}

// settled gives goroutines that are about to end the time for it. goleak itself looks again for half a second, which is
// little for the connections of a whole package on a machine that does other things beside.
type settled struct {
	m       *testing.M
	options []goleak.Option
}

// Run is for goleak.VerifyTestMain.
func (s settled) Run() int {
	code := s.m.Run()
	for deadline := time.Now().Add(patience / 2); code == 0 && goleak.Find(s.options...) != nil && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond)
	}
	return code
}
