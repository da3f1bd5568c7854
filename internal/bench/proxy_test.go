package bench

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// discard is a connection that takes everything.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

// proxy stands between the generator and a server and does to frames what a network or a faulty server might.
type proxy struct {
	server string
	url    string
	// answer: of the nth connection, without asking the server; "" = ask it.
	answer func(n int) string
	// alter gives what is sent on for the nth frame of the nth connection that bears a mark; nil = cut the connection.
	alter func(conn, n int, frame []byte) [][]byte

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newProxy(t *testing.T, server string, set func(*proxy)) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		server: server, url: "http://" + l.Addr().String(),
		answer: func(int) string { return "" }, alter: func(_, _ int, f []byte) [][]byte { return [][]byte{f} },
	}
	set(p)
	p.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.keep(c)
			p.wg.Go(func() { p.serve(c, n) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
}

func (p *proxy) serve(c net.Conn, n int) {
	defer c.Close()
	if text := p.answer(n); text != "" {
		_, _ = io.CopyN(io.Discard, c, 10)
		_, _ = io.WriteString(c, text)
		return
	}
	up, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer up.Close()
	p.keep(up)
	p.wg.Go(func() {
		_, _ = io.Copy(up, c)
		_ = up.Close()
	})
	rest, err := readUpgrade(up)
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	marked := 0
	for buf := make([]byte, 64<<10); ; {
		for {
			_, payload, size, err := splitFrame(rest)
			if err != nil {
				return
			}
			if size == 0 {
				break
			}
			out := [][]byte{bytes.Clone(rest[:size])}
			if bytes.Contains(payload, []byte(markWord)) {
				if out = p.alter(n, marked, out[0]); out == nil {
					return
				}
				marked++
			}
			for _, frame := range out {
				if _, err := c.Write(frame); err != nil {
					return
				}
			}
			rest = rest[size:]
		}
		k, err := up.Read(buf)
		if err != nil {
			return
		}
		rest = append(rest, buf[:k]...)
	}
}

// stall holds frames back for a while.
func stall(d time.Duration) { <-time.After(d) }
