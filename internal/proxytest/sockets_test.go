package proxytest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"fanfare/client"
	"fanfare/internal/auth"
	"fanfare/internal/labtest"
	"fanfare/protocol"
)

// TestProxies runs each proxy in front of three gateways of its own.
func TestProxies(t *testing.T) {
	if testing.Short() {
		t.Log("short: without programs")
		return
	}
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			s := newSite(t)
			running := p.start(t, s)
			t.Run("subprotocol", func(t *testing.T) { checkSubprotocol(t, s) })
			t.Run("balance", func(t *testing.T) { checkBalance(t, s) })
			t.Run("address", func(t *testing.T) { checkAddress(t, s) })
			t.Run("quiet socket", func(t *testing.T) { checkQuiet(t, s, p, running) })
			t.Run("sdk", func(t *testing.T) { checkSDK(t, s, "@xano/js-sdk", "") })
			t.Run("rolling restart", func(t *testing.T) { checkRolling(t, s) })
		})
	}
}

func (s *site) open(t *testing.T, from string, protocols ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return websocket.Dial(ctx, "wss://"+host+"/rt/demo", &websocket.DialOptions{HTTPClient: s.web(t, from), Subprotocols: protocols})
}

// A token goes there and back as subprotocol, a long one too, and is understood.
func checkSubprotocol(t *testing.T, s *site) {
	for _, size := range []int{1, 4000} {
		token, err := auth.Mint(auth.MintOptions{Secret: jwtSecret, DboID: 7, RowID: protocol.RowIDFromInt(42), Extras: json.RawMessage(`{"pad":"` + strings.Repeat("x", size) + `"}`)})
		if err != nil {
			t.Fatal(err)
		}
		socket, _, err := s.open(t, "", token)
		if err != nil {
			t.Fatalf("token of %d bytes: %v", len(token), err)
		}
		if socket.Subprotocol() != token {
			t.Errorf("subprotocol of %d bytes came back as %.20q", len(token), socket.Subprotocol())
		}
		socket.SetReadLimit(1 << 20)
		if err := socket.Write(t.Context(), websocket.MessageText, []byte(`{"action":"join","options":{"channel":"room1"},"payload":{"presence":true}}`)); err != nil {
			t.Fatal(err)
		}
		_, frame, err := socket.Read(t.Context())
		if err != nil || !strings.Contains(string(frame), `"row_id":42`) {
			t.Errorf("%v: %.200s", err, frame)
		}
		_ = socket.Close(websocket.StatusNormalClosure, "")
	}
}

// Sockets go where the fewest are: also after a gateway has come back empty.
func checkBalance(t *testing.T, s *site) {
	hold := func(n int) {
		for range n {
			socket, _, err := s.open(t, "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = socket.CloseNow() })
		}
	}
	hold(30)
	labtest.Await(t, 30*time.Second, "balance", func() error {
		if n := s.sockets(t); slices.Max(n)-slices.Min(n) > 3 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	// One is killed: its sockets are gone, and new ones are not sent to it. It comes back empty and is filled first.
	there := s.sockets(t)
	s.gateways[0].Kill()
	hold(6)
	labtest.Await(t, 10*time.Second, "sockets while a gateway is gone", func() error {
		if n := s.sockets(t); n[0] != -1 || n[1]+n[2] < 30-there[0]+6 {
			return fmt.Errorf("%v, before %v", n, there)
		}
		return nil
	})
	s.gateways[0].Again(t)
	s.gateways[0].AwaitReady(t, 30*time.Second)
	labtest.Await(t, 15*time.Second, "the gateway that came back is used", func() error {
		probe, _, err := s.open(t, "")
		if err != nil {
			return err
		}
		defer func() { _ = probe.CloseNow() }() // kept, they would fill the limit of an address before the proxy has looked
		if n := s.sockets(t); n[0] < 1 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	hold(8)
	labtest.Await(t, 10*time.Second, "the empty gateway is filled first", func() error {
		if n := s.sockets(t); n[0] < 6 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
}

// Limits per address count the people behind the proxy: one address is full, another is not.
func checkAddress(t *testing.T, s *site) {
	full := false
	for range 90 { // 25 on each of three gateways
		socket, response, err := s.open(t, "127.88.0.1")
		if err != nil {
			if response == nil || response.StatusCode != http.StatusTooManyRequests {
				t.Fatalf("%v", err)
			}
			full = true
			break
		}
		t.Cleanup(func() { _ = socket.CloseNow() })
	}
	if !full {
		t.Error("the limit of sockets per address counts another address than the client's")
	}
	socket, _, err := s.open(t, "127.88.0.2")
	if err != nil {
		t.Fatalf("another address: %v", err)
	}
	_ = socket.CloseNow()
}

// A socket that says nothing outlives every timeout of the proxy, because the gateway pings; and a reload.
func checkQuiet(t *testing.T, s *site, p proxy, running *labtest.Process) {
	socket, _, err := s.open(t, "")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow() //nolint:errcheck // of no more use
	ended := make(chan error, 1)
	go func() {
		_, _, err := socket.Read(t.Context())
		ended <- err
	}()
	if p.reload {
		reload(running)
	}
	select {
	case err := <-ended:
		t.Errorf("ended: %v", err)
		return
	case <-time.After(7 * time.Second): // twice the longest timeout
	}
	_ = socket.CloseNow()
	if err := <-ended; err == nil {
		t.Error("something was read from a socket that says nothing")
	}
}

// While the gateways are restarted one after the other nothing that was acknowledged is lost, and everybody is back.
func checkRolling(t *testing.T, s *site) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const people = 9
	var mu sync.Mutex
	seen := make([]map[string]int, people)
	gaps := 0
	var running sync.WaitGroup
	dial := func(i int) *client.Channel {
		c, err := client.Dial(ctx, "wss://"+host+"/rt/demo", client.Options{HTTPClient: s.web(t, fmt.Sprint("127.88.1.", i+1)), BackoffMin: 100 * time.Millisecond, BackoffMax: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ch := c.Channel("room1", client.ChannelOptions{})
		if err := ch.Join(ctx); err != nil {
			t.Fatal(err)
		}
		return ch
	}
	for i := range people {
		ch := dial(i)
		seen[i] = map[string]int{}
		running.Go(func() {
			for event, err := range ch.Events(ctx) {
				if err != nil {
					return
				}
				mu.Lock()
				switch e := event.(type) {
				case *client.Gap:
					gaps++
				case *client.Message:
					var text string
					_ = e.Decode(&text)
					seen[i][text]++
				}
				mu.Unlock()
			}
		})
	}
	acked := map[string]bool{}
	stop := make(chan struct{})
	sender := dial(people)
	running.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			text := fmt.Sprint("message ", n)
			if _, err := sender.Send(ctx, text); err == nil {
				mu.Lock()
				acked[text] = true
				mu.Unlock()
			}
		}
	})
	begun := time.Now()
	for _, g := range s.gateways {
		g.Stop(t, 20*time.Second)
		g.Again(t)
		g.AwaitReady(t, 30*time.Second)
		<-time.After(1500 * time.Millisecond) // as minReadySeconds of a rollout: the proxy has to see it too
	}
	close(stop)
	labtest.Await(t, 20*time.Second, "everything acknowledged at everybody", func() error {
		mu.Lock()
		defer mu.Unlock()
		for text := range acked {
			for i := range seen {
				if seen[i][text] != 1 {
					return fmt.Errorf("%s came %d times to %d", text, seen[i][text], i)
				}
			}
		}
		return nil
	})
	mu.Lock()
	if len(acked) < 50 || gaps > 0 {
		t.Errorf("%d acknowledged, %d gaps told", len(acked), gaps)
	}
	t.Logf("%d acknowledged messages at %d clients over %s, restarted under them: %d gaps", len(acked), people, time.Since(begun).Round(time.Millisecond), gaps)
	mu.Unlock()
	cancel()
	running.Wait()
}
