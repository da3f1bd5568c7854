package gateway

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// raw is a socket whose bytes the test writes and reads itself.
type raw struct {
	net.Conn
	br *bufio.Reader
}

const upgradeHead = "GET /rt/hash HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// request opens a connection and sends text.
func (s *server) request(tb testing.TB, text string) *raw {
	tb.Helper()
	nc := s.connection(tb)
	tb.Cleanup(func() { _ = nc.Close() })
	if _, err := io.WriteString(nc, text); err != nil {
		tb.Fatal(err)
	}
	return &raw{Conn: nc, br: bufio.NewReader(nc)}
}

// response reads an HTTP answer with its body.
func (r *raw) response(tb testing.TB) (*http.Response, string) {
	tb.Helper()
	resp, err := http.ReadResponse(r.br, nil)
	if err != nil {
		tb.Fatalf("no answer: %v", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		tb.Fatalf("answer is cut: %v", err)
	}
	return resp, string(body)
}

// socket is an upgraded connection.
func (s *server) socket(tb testing.TB) *raw {
	tb.Helper()
	r := s.request(tb, upgradeHead+"\r\n")
	if resp, body := r.response(tb); resp.StatusCode != http.StatusSwitchingProtocols {
		tb.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	return r
}

// listener is a member of a channel that reads everything and looks at nothing.
func (s *server) listener(tb testing.TB, channel string) {
	tb.Helper()
	r := s.socket(tb)
	r.write(tb, masked(opText, joinFrame(channel)))
	if _, payload := r.frame(tb); !strings.HasPrefix(payload, `{"action":"join"`) {
		tb.Fatalf("join: %s", payload)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, r.br)
	}()
	tb.Cleanup(func() {
		_ = r.Close()
		<-done
	})
}

func joinFrame(channel string) string {
	return `{"action":"join","options":{"channel":"` + channel + `"},"payload":{"history":false,"presence":false}}`
}

func (r *raw) write(tb testing.TB, b []byte) {
	tb.Helper()
	if _, err := r.Write(b); err != nil {
		tb.Fatalf("write: %v", err)
	}
}

// masked makes a client's frame; first is its first byte.
func masked(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

// next reads one frame of the server: its first byte and its payload.
func (r *raw) next() (first byte, payload string, err error) {
	var head [10]byte
	if _, err = io.ReadFull(r.br, head[:2]); err != nil {
		return 0, "", err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(r.br, head[2:4])
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(r.br, head[2:10])
		n = binary.BigEndian.Uint64(head[2:])
	}
	if err != nil {
		return 0, "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.br, b)
	return head[0], string(b), err
}

func (r *raw) frame(tb testing.TB) (byte, string) {
	tb.Helper()
	first, payload, err := r.next()
	if err != nil {
		tb.Fatalf("read: %v", err)
	}
	return first, payload
}

// closed reads until the server's close frame and gives its code; 0 = there was none.
func (r *raw) closed() int {
	for {
		first, payload, err := r.next()
		if err != nil {
			return 0
		}
		if first == opClose && len(payload) >= 2 {
			return int(payload[0])<<8 | int(payload[1])
		}
	}
}
