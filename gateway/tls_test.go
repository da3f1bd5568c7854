package gateway

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// tlsPipe gives a conn with TLS whose kernel takes nothing, and its peer.
func tlsPipe(tb testing.TB, backlog int) (*conn, net.Conn) {
	tb.Helper()
	server, trust := certificate(tb)
	here, there := net.Pipe()
	c := bareConn(tb, there, backlog)
	c.tls = tls.Server((*transport)(c), server)
	peer := tls.Client(here, trust)
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	if err := c.tls.HandshakeContext(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	synctest.Wait()
	return c, peer
}

// Over TLS a large answer does not count against the backlog, and closing lets out what waits, the close frame
// included.
func TestTLSBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := tlsPipe(t, 64<<10)
		list := text(1 << 20)
		if err := c.writeShared(list); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := c.write(text(1000)); err != nil {
				t.Fatalf("behind a large answer: %v", err)
			}
		}
		if _, err := c.Write(closeFrame(1012, "restart")); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		r := &raw{Conn: peer, br: bufio.NewReader(peer)}
		if _, got := r.frame(t); len(got) != 1<<20 {
			t.Errorf("list of %d bytes", len(got))
		}
		if code := r.closed(); code != 1012 {
			t.Errorf("closed with %d", code)
		}
		c.finish()
	})
}

// Over TLS as well a slow reader is evicted at the limit, and sees why.
func TestTLSEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := tlsPipe(t, 64<<10)
		n := 0
		for c.write(text(1000)) == nil {
			if n++; n > 100 {
				t.Fatal("never evicted")
			}
		}
		if c.evictReason() != evictBacklog || n < 60 {
			t.Errorf("evicted for %d after %d frames", c.evictReason(), n)
		}
		r := &raw{Conn: peer, br: bufio.NewReader(peer)}
		for range n {
			if _, got := r.frame(t); len(got) != 1000 {
				t.Fatalf("frame of %d bytes", len(got))
			}
		}
		if code := r.closed(); code != 1013 {
			t.Errorf("closed with %d", code)
		}
	})
}

// What an http.Server writes waits for the reader and not in memory.
func TestTLSBlocksForHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := tlsPipe(t, 64<<10)
		c.setBlocking(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.tls.Write([]byte(strings.Repeat("x", 1<<20)))
		}()
		synctest.Wait()
		c.mu.Lock()
		unsent := c.unsent
		c.mu.Unlock()
		select {
		case <-done:
			t.Error("a write did not wait")
		default:
		}
		if unsent != 0 {
			t.Errorf("%d bytes in memory", unsent)
		}
		if n, err := io.CopyN(io.Discard, peer, 1<<20); err != nil || n != 1<<20 {
			t.Errorf("%d bytes: %v", n, err)
		}
		<-done
	})
}
