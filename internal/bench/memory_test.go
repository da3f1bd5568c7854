package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"fanfare/internal/natstest"
)

// childOptions tells this test binary to be a generator and nothing else: what it keeps for its sockets must not
// count as the server's.
const childOptions = "FANFARE_BENCH_OPTIONS"

func TestMain(m *testing.M) {
	if text := os.Getenv(childOptions); text != "" {
		os.Exit(child(text))
	}
	natstest.VerifyMain(m)
}

func child(text string) int {
	var o Options
	if json.Unmarshal([]byte(text), &o) != nil {
		return 2
	}
	if _, err := Run(context.Background(), o); err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// The heap and the stacks of an idle, joined connection: independent of the machine, and so asserted. The kernel's part
// and what the runtime keeps back are not in it.
const (
	idleConnections = 2000
	mostPerIdle     = 8500 // bytes; 6900 to 7700 were seen, half of it the stack of the reader
)

func TestMemoryOfIdleConnections(t *testing.T) {
	n, _ := startNode(t)
	before := inUse()
	var failed bytes.Buffer
	options, err := json.Marshal(Options{
		Scenario: Idle, URLs: []string{"http://" + n.Addr()}, Hash: "bench", Channel: "live/m",
		Channels: idleConnections / 10, Members: 10, Settle: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), childOptions+"="+string(options)), &failed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Kill()
		<-ended //nolint:errcheck // it was killed
	}()
	joined := func() (joined int) {
		for _, members := range n.Gateway().Occupancy(1) {
			joined += members
		}
		return joined
	}
	for deadline := time.Now().Add(time.Minute); joined() < idleConnections; {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the generator ended: %v\n%s", err, &failed)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d have joined", joined(), idleConnections)
		}
	}
	// Goroutines and buffers of the joins end a little later.
	least := uint64(1 << 62)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		if least = min(least, (inUse()-before)/idleConnections); least < mostPerIdle {
			break
		}
	}
	t.Logf("%d bytes of heap and stack for each connection", least)
	if least >= mostPerIdle {
		t.Errorf("%d bytes of heap and stack for each connection, at most %d", least, mostPerIdle)
	}
}

// inUse is the heap that is reachable, and stacks.
func inUse() uint64 {
	debug.FreeOSMemory() // collects twice, and shrinks stacks
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
