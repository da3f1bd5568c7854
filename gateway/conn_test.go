package gateway

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bareConn is a conn over nc without anything around it.
func bareConn(tb testing.TB, nc net.Conn, backlog int) *conn {
	tb.Helper()
	drains := &sync.WaitGroup{}
	tb.Cleanup(drains.Wait)
	limits := &connLimits{
		backlogBytes: backlog, writeTimeout: 2 * time.Second, linger: time.Second, drains: drains,
		metrics: newMetrics(Options{Registerer: prometheus.NewRegistry()}),
	}
	c := &conn{Conn: nc, limits: limits, fd: rawFD(nc)}
	tb.Cleanup(c.drop)
	return c
}

// tcpPair gives both ends of a loopback connection.
func tcpPair(tb testing.TB) (server, client net.Conn) {
	tb.Helper()
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		nc, _ := ln.Accept()
		accepted <- nc
	}()
	if client, err = (&net.Dialer{}).DialContext(tb.Context(), "tcp", ln.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if server = <-accepted; server == nil {
		tb.Fatal("not accepted")
	}
	tb.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return server, client
}

func text(n int) []byte {
	return append(appendTextHeader(nil, n), strings.Repeat("x", n)...)
}

// Exactly limits.backlog_bytes may wait; one byte more ends the socket, with 1013 behind all that was taken.
func TestBacklogLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c := bareConn(t, there, 10_000)
		frame := text(996) // 1000 bytes with its header
		for i := range 10 {
			if err := c.write(frame); err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			synctest.Wait()
		}
		if c.pending() != 10_000 || c.evictReason() != evictNone {
			t.Fatalf("pending %d, evicted %d", c.pending(), c.evictReason())
		}
		if err := c.write(pingFrame); !errors.Is(err, errSlowConsumer) {
			t.Fatalf("over the limit: %v", err)
		}
		if err := c.write(pingFrame); !errors.Is(err, errConnClosing) {
			t.Fatalf("after the eviction: %v", err)
		}
		if c.evictReason() != evictBacklog {
			t.Errorf("reason %d", c.evictReason())
		}
		want := strings.Repeat(string(frame), 10) + string(closeTryAgain)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(here, got); err != nil || string(got) != want {
			t.Errorf("what was taken did not come out whole (%v), or the close frame is missing", err)
		}
		c.finish()
		if n, err := here.Read(got); err == nil {
			t.Errorf("%d bytes behind the close frame", n)
		}
	})
}

// More at once than the limit is taken frame by frame, up to the limit.
func TestBacklogOfOneLargeWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, there := net.Pipe()
		c := bareConn(t, there, 10_000)
		if err := c.write([]byte(strings.Repeat(string(text(996)), 100))); !errors.Is(err, errSlowConsumer) {
			t.Errorf("write: %v", err)
		}
		if got := c.pending(); got > 10_000+len(closeTryAgain) {
			t.Errorf("%d bytes wait", got)
		}
		_, other := net.Pipe()
		c = bareConn(t, other, 100)
		if err := c.write(text(5000)); err != nil {
			t.Errorf("one frame, larger than the limit, for a socket that keeps up: %v", err)
		}
		if err := c.writeShared(text(3000), text(10)); err != nil { // a list larger than a small limit
			t.Errorf("shared: %v", err)
		}
	})
}

// A backlog that makes no progress ends the socket after the write timeout, a slow one that does not.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c := bareConn(t, there, 1<<20)
		for range 3 {
			if err := c.writeShared(text(drainPiece)); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, drainPiece)
		for range 3 {
			time.Sleep(1900 * time.Millisecond)
			if _, err := io.ReadFull(here, buf); err != nil {
				t.Fatalf("a slow reader was cut: %v", err)
			}
			synctest.Wait()
			if age := time.Now().UnixMilli() - c.progress.Load(); age > 2000 {
				t.Errorf("no sign of life for %d ms", age)
			}
		}
		began := time.Now()
		for c.evictReason() == evictNone {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began).Truncate(100 * time.Millisecond); took > 2*time.Second || c.evictReason() != evictTimeout {
			t.Errorf("evicted after %v for %d", took, c.evictReason())
		}
	})
}

// The reader of a socket that asks without reading answers is held up, and let go when the backlog is out or the
// socket ends.
func TestAwaitRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ending := range []string{"read", "drop", "shut", "timeout"} {
			here, there := net.Pipe()
			c := bareConn(t, there, 100_000)
			c.awaitRoom()
			if err := c.writeShared(text(200_000)); err != nil {
				t.Fatal(err)
			}
			waited := make(chan struct{})
			go func() {
				defer close(waited)
				c.awaitRoom()
			}()
			synctest.Wait()
			select {
			case <-waited:
				t.Fatalf("%s: not held up", ending)
			default:
			}
			switch ending {
			case "read":
				_, _ = io.CopyN(io.Discard, here, 200_000)
			case "drop":
				c.drop()
			case "shut":
				c.shut()
			}
			<-waited
			c.drop()
		}
	})
}

// Whatever is written to a conn after its end never reaches a connection that got its descriptor.
func TestNothingIsWrittenToAReusedDescriptor(t *testing.T) {
	for range 50 {
		nc, peer := tcpPair(t)
		c := bareConn(t, nc, 1<<20)
		var writers sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			writers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_ = c.write(pingFrame)
					}
				}
			})
		}
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		c.drop()
		next, nextPeer := tcpPair(t)
		_ = nextPeer.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		if n, _ := nextPeer.Read(make([]byte, 1)); n > 0 {
			t.Error("bytes of an ended conn on another connection")
		}
		close(stop)
		writers.Wait()
		_, _ = next.Close(), nextPeer.Close()
	}
}

func TestCutFrames(t *testing.T) {
	three := append(append(text(10), text(200)...), text(70_000)...)
	for _, c := range []struct{ most, want int }{
		{0, 12}, {1, 12}, {12, 12}, {215, 12}, {216, 216}, {70_000, 216}, {len(three) - 1, 216}, {len(three), len(three)}, {1 << 20, len(three)},
	} {
		if got := cutFrames(three, c.most); got != c.want {
			t.Errorf("most %d: cut at %d, want %d", c.most, got, c.want)
		}
	}
	for _, broken := range []string{"", "\x81", "\x81\x7e", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "HTTP/1.1 503"} {
		if got := cutFrames([]byte(broken), 4); got > len(broken) || got < len(broken) && got == 0 {
			t.Errorf("%q: cut at %d", broken, got)
		}
	}
}

func TestCutBuffers(t *testing.T) {
	whole := "abcdefghijklmnopqrstuvwxyz"
	for n := 1; n <= len(whole)+1; n++ {
		out := net.Buffers{[]byte(whole[:3]), []byte(whole[3:4]), nil, []byte(whole[4:20]), []byte(whole[20:])}
		got := ""
		for len(out) > 0 {
			piece, rest := cutBuffers(out, n)
			size := 0
			for _, p := range piece {
				size += len(p)
				got += string(p)
			}
			if size > n {
				t.Fatalf("%d bytes at once, at most %d", size, n)
			}
			out = rest
		}
		if got != whole {
			t.Errorf("n=%d: %s", n, got)
		}
	}
}
