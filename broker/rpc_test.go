package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

func TestRequests(t *testing.T) {
	node := natstest.Single(t)
	var rigs []*rig
	blocked := make(chan struct{})
	for i := range 3 {
		name := fmt.Sprintf("node000%d", i)
		rigs = append(rigs, newRig(t, name, ConnectOptions{URLs: []string{node.URL()}}, 1, func(b *Broker) {
			b.Handle("echo", func(_ context.Context, p []byte) ([]byte, error) { return append([]byte(name+" "), p...), nil })
			b.Handle("fail", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no\r\nX: y") })
			b.Handle("block", func(ctx context.Context, _ []byte) ([]byte, error) {
				select {
				case <-blocked:
				case <-ctx.Done():
				}
				return []byte("ok"), nil
			})
		}))
	}
	a := rigs[0]
	ready := func() bool {
		_, err := a.Request(t.Context(), "node0002", "echo", nil)
		_, err1 := a.Request(t.Context(), "node0001", "echo", nil)
		return err == nil && err1 == nil
	}
	natstest.Eventually(t, "the gateways", ready)
	for _, to := range []protocol.NodeID{"node0000", "node0001"} {
		if got, err := a.Request(t.Context(), to, "echo", []byte("hi")); err != nil || string(got) != string(to)+" hi" {
			t.Errorf("%s: %q, %v", to, got, err)
		}
		if _, err := a.Request(t.Context(), to, "fail", nil); !errors.Is(err, ErrPeer) {
			t.Errorf("%s: %v", to, err)
		}
	}
	for _, nobody := range []protocol.NodeID{"node0009", "", "a.b.c.d.", "*.......", ">"} {
		if _, err := a.Request(t.Context(), nobody, "echo", nil); !errors.Is(err, ErrNoGateway) {
			t.Errorf("%q: %v", nobody, err)
		}
	}
	all := []protocol.NodeID{"node0000", "node0001", "node0002"}
	got, err := a.RequestAll(t.Context(), "echo", []byte("hi"), all)
	if err != nil || len(got) != 2 || string(got["node0001"]) != "node0001 hi" || string(got["node0002"]) != "node0002 hi" {
		t.Errorf("all: %q, %v", got, err)
	}
	if got, err := a.RequestAll(t.Context(), "echo", nil, nil); err != nil || len(got) != 0 {
		t.Errorf("nobody expected: %v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // all of it passes: one never answers
	defer cancel()
	if got, err := a.RequestAll(ctx, "echo", nil, append(all, "node0009")); !errors.Is(err, ErrPeer) || len(got) != 2 {
		t.Errorf("one missing: %v, %v", got, err)
	}
	if got, err := a.RequestAll(t.Context(), "fail", nil, all); !errors.Is(err, ErrPeer) || len(got) != 0 {
		t.Errorf("all fail: %v, %v", got, err)
	}

	// More requests than are answered at once are refused, not queued.
	answers := make(chan error, maxHandlers+20)
	for range maxHandlers + 20 {
		go func() {
			_, err := a.Request(t.Context(), "node0001", "block", nil)
			answers <- err
		}()
	}
	for range 20 {
		if err := <-answers; !errors.Is(err, ErrPeer) {
			t.Errorf("too many: %v", err)
		}
	}
	close(blocked)
	for range maxHandlers {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}
