package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/history"
	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// TestDataDirInUse: a second one on the same directory is refused by name, and may start when the first is gone.
func TestDataDirInUse(t *testing.T) {
	dir := t.TempDir()
	first := startEmbedded(t, dir)
	if err := first.Healthy(); err != nil {
		t.Error(err)
	}
	second, err := natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(t.Context())
	if !errors.Is(err, natsd.ErrDataDirInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	second.Close()
	first.Close()
	first.Close()
	if first.Healthy() == nil {
		t.Error("healthy after Close")
	}
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestEmbeddedOptions(t *testing.T) {
	for _, o := range []natsd.EmbeddedOptions{{}, {DataDir: "x", Sync: "sometimes"}, {DataDir: "x", Sync: "-1s"}, {DataDir: "x", Sync: "0s"}} {
		if _, err := natsd.NewEmbedded(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err == nil {
		t.Error("a file is no directory")
	}
}

// TestRestart: what was acknowledged is there after an orderly restart, with the same epoch.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	run := func(want int, lost bool, sync string) (epoch string) {
		e, err := natsd.NewEmbedded(natsd.EmbeddedOptions{DataDir: dir, Sync: sync})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if e.MayHaveLost() != lost {
			t.Errorf("MayHaveLost is %t", e.MayHaveLost())
		}
		r := newRig(t, "node0001", ConnectOptions{InProcess: e}, 1)
		defer r.stop()
		page, err := r.store.Read(t.Context(), topic("room"), history.Range{})
		if err != nil || len(page.Publications) != want {
			t.Errorf("%d publications, want %d (%v)", len(page.Publications), want, err)
		}
		receipt := r.mustPublish("room", fmt.Sprint(want), true)
		return receipt.Position.Epoch
	}
	first := run(0, false, "")
	if second := run(1, false, "always"); second != first {
		t.Error("the epoch changed")
	}
	if err := os.WriteFile(dir+"/"+"running", nil, 0o600); err != nil { // as if killed
		t.Fatal(err)
	}
	run(2, false, "")
	if err := os.WriteFile(dir+"/"+"running", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(3, true, "1s")
}

// The child process of TestKill publishes until it is killed and prints what was acknowledged.
const childDir = "FANFARE_TEST_CHILD_DIR"

func TestKillChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return // runs only as the child
	}
	r := newRig(t, "node0001", ConnectOptions{InProcess: startEmbedded(t, dir)}, 1)
	for i := 0; ; i++ {
		receipt, err := r.publish("room", fmt.Sprintf("%s-%d", os.Getenv("FANFARE_TEST_CHILD_RUN"), i), true)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(os.Stdout, "acked %d %s\n", receipt.Position.Offset, receipt.Position.Epoch)
	}
}

// TestKill: kill -9 in the middle of publishing, twice: everything acknowledged is there, and the next start is
// clean, with the same epoch.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	epochs := map[string]bool{}
	for run := range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // each of 300 waits for the disk
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKillChild$")
		cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("FANFARE_TEST_CHILD_RUN=%d", run))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var n int
		for lines.Scan() {
			var offset uint64
			var epoch string
			if _, err := fmt.Sscanf(lines.Text(), "acked %d %s", &offset, &epoch); err != nil {
				continue
			}
			acked[fmt.Sprint(offset)] = true
			epochs[epoch] = true
			if n++; n == 300 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		cancel()
		if n < 300 {
			t.Fatalf("the child acknowledged %d", n)
		}
	}
	r := newRig(t, "node0001", ConnectOptions{InProcess: startEmbedded(t, dir)}, 1)
	page, err := r.store.Read(t.Context(), topic("room"), history.Range{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]bool{}
	for _, p := range page.Publications {
		stored[fmt.Sprint(p.Offset)] = true
	}
	for offset := range acked {
		if !stored[offset] {
			t.Errorf("offset %s was acknowledged and is gone", offset)
		}
	}
	if len(epochs) != 1 {
		t.Errorf("epochs %v", epochs)
	}
}

// TestConnectRefused: no broker, an error in time that says so.
func TestConnectRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, ConnectOptions{URLs: []string{"nats://127.0.0.1:1"}}); err == nil {
		t.Error("connected to nothing")
	}
	for _, o := range []ConnectOptions{{}, {URLs: []string{"nats://127.0.0.1:1"}, TLSCert: "x"}, {URLs: []string{"::"}}} {
		if _, err := Connect(ctx, o); err == nil {
			t.Errorf("%+v", o)
		}
	}
}

// TestConnectLater: the broker may come up after the gateway.
func TestConnectLater(t *testing.T) {
	node := natstest.Single(t)
	node.Stop()
	connected := make(chan error, 1)
	var c *Client
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var err error
		c, err = Connect(ctx, ConnectOptions{URLs: []string{node.URL()}})
		connected <- err
	}()
	select {
	case err := <-connected:
		t.Fatal("connected to nothing", err)
	case <-time.After(200 * time.Millisecond):
	}
	node.Start(t)
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if up, _ := c.Connected(); !up {
		t.Error("not connected")
	}
	hooks := make(chan struct{}, 8)
	c.OnReconnect(func() { hooks <- struct{}{} })
	node.Stop()
	natstest.Eventually(t, "the loss to be noticed", func() bool { up, _ := c.Connected(); return !up })
	node.Start(t)
	<-hooks
	if up, since := c.Connected(); !up || time.Since(since) > 10*time.Second {
		t.Errorf("connected %t since %v", up, since)
	}
}

// TestCut: publications wait a moment for a lost connection, then are refused; afterwards all is well again.
func TestCut(t *testing.T) {
	node := natstest.Single(t)
	r := newRig(t, "node0001", ConnectOptions{URLs: []string{node.URL()}}, 1, func(o *Options) { o.Deadline = 4 * time.Second })
	_, room := r.attach("room", false)
	node.Stop()
	natstest.Eventually(t, "the loss to be noticed", func() bool {
		up, _ := r.o.Client.Connected()
		return !up && !r.o.Client.Publish().IsConnected()
	})
	if _, err := r.publish("room", "a", true); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("stored while cut: %v", err)
	}
	if _, err := r.publish("room", "b", false); !errors.Is(err, protocol.ErrUnavailable) || room.count() != 0 {
		t.Errorf("unstored after 4 s: %v, %d delivered", err, room.count())
	}
	begin := time.Now()
	if _, err := r.publish("room", "c", true); !errors.Is(err, protocol.ErrUnavailable) || time.Since(begin) > time.Second {
		t.Errorf("stored when long cut: %v after %v", err, time.Since(begin))
	}
	node.Start(t)
	natstest.Eventually(t, "the connection", func() bool { up, _ := r.o.Client.Connected(); return up })
	r.mustPublish("room", "d", false)
	r.mustPublish("room", "e", true)
	if err := r.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}
