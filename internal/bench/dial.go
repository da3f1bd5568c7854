package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// dialTimeout bounds a connect with its upgrade and joins.
const dialTimeout = 20 * time.Second

// target is where sockets of one gateway go.
type target struct {
	addr    string
	tls     *tls.Config // nil = none
	request []byte
}

func newTarget(address, hash, token string) (*target, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	t := &target{addr: u.Host}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		t.tls = &tls.Config{
			ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(0),
		}
	}
	if u.Port() == "" {
		t.addr = net.JoinHostPort(u.Hostname(), port)
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/") + "/rt/" + url.PathEscape(hash)
	// The key is of no consequence: nothing between here and a server that speaks WebSocket answers 101 by chance.
	t.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: ZmFuZmFyZSBiZW5jaC4uLg==\r\nSec-WebSocket-Version: 13\r\nUser-Agent: fanfare-bench\r\n", path, u.Host)
	if token != "" {
		if strings.ContainsAny(token, "\r\n, ") {
			return nil, errors.New("the token has characters that a token does not have")
		}
		t.request = fmt.Appendf(t.request, "Sec-WebSocket-Protocol: %s\r\n", token)
	}
	t.request = append(t.request, "\r\n"...)
	return t, nil
}

// busyError is an answer that asks to come back: 503 and 429.
type busyError struct {
	status int
	after  time.Duration
}

func (e *busyError) Error() string {
	return fmt.Sprintf("the server answered %d %s to the upgrade", e.status, http.StatusText(e.status))
}

// dial opens a WebSocket. What came behind the answer is returned with it.
func (t *target) dial(ctx context.Context) (_ net.Conn, rest []byte, err error) {
	nc, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = nc.Close()
		}
	}()
	if t.tls != nil {
		secured := tls.Client(nc, t.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, nil, fmt.Errorf("tls: %w", err)
		}
		nc = secured
	}
	if _, err := nc.Write(t.request); err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	rest, err = readUpgrade(nc)
	return nc, rest, err
}

// readUpgrade reads the answer to the request.
func readUpgrade(r io.Reader) (rest []byte, err error) {
	const most = 16 << 10
	b := make([]byte, 0, 512)
	for {
		if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
			if bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
				return b[end+4:], nil
			}
			return nil, refusedUpgrade(b[:end+4])
		}
		if len(b) == most {
			return nil, errors.New("upgrade: the answer has no end")
		}
		if len(b) == cap(b) {
			b = append(b, make([]byte, len(b))...)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), most)])
		b = b[:len(b)+n]
		if err != nil && !bytes.Contains(b, []byte("\r\n\r\n")) {
			return nil, fmt.Errorf("upgrade: %w", err)
		}
	}
}

func refusedUpgrade(head []byte) error {
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	if err != nil {
		return errors.New("upgrade: what answers is no HTTP server")
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil || seconds < 0 {
			seconds = 1
		}
		return &busyError{response.StatusCode, min(time.Duration(seconds)*time.Second, 5*time.Second)}
	}
	return fmt.Errorf("upgrade: the server answered %s", response.Status)
}
