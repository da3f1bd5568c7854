package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// refusal is an answer to an upgrade that is not granted.
type refusal struct {
	status     int
	code, text string
	retryAfter int // seconds; 0 = not said
	// header and value are a further line of the head; empty = none.
	header, value string
}

func (r refusal) body() string {
	return `{"code":` + strconv.Quote(r.code) + `,"message":` + strconv.Quote(r.text) + "}\n"
}

// write answers on a bare connection and ends it.
func (r refusal) write(c *conn) {
	body := r.body()
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n",
		r.status, http.StatusText(r.status), len(body))
	if r.retryAfter > 0 {
		fmt.Fprintf(&b, "Retry-After: %d\r\n", r.retryAfter)
	}
	if r.header != "" {
		b.WriteString(r.header + ": " + r.value + "\r\n")
	}
	b.WriteString("\r\n")
	b.WriteString(body)
	_ = c.write([]byte(b.String()))
	_ = c.Close()
	// Read what the client still sends, so that it gets the answer and not a reset.
	_, _ = io.CopyN(io.Discard, c, maxRequestBytes)
	c.finish()
}
