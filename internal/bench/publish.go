package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// publishers is how many requests are under way at once. A sender's messages go through the same one, in order.
const publishers = 16

// queued bounds what waits for one of them; then the schedule is late, which the latencies show.
const queued = 1024

// publisher sends through the HTTP API.
func (r *run) publisher(ctx context.Context) (send func(n int64, due time.Duration) bool, wait func() int64) {
	senders := r.o.senders()
	queues := make([]chan mark, publishers)
	var failed atomic.Int64
	var wg sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan mark, queued)
		address := strings.TrimSuffix(r.o.URLs[i%len(r.o.URLs)], "/") + "/api/v1/" + url.PathEscape(r.o.Hash) + "/events"
		wg.Go(func() {
			var buf []byte
			for m := range queues[i] {
				buf = fmt.Appendf(buf[:0], `{"channel":%q,"data":`, r.o.channel(m.channel))
				buf = append(appendMark(buf, string(r.prefix), m, r.o.Size), '}')
				if code := r.post(ctx, address, buf); code != "" {
					r.refused(code)
					failed.Add(1)
				}
			}
		})
	}
	return func(n int64, due time.Duration) bool {
			m := r.markOf(n, senders, due)
			select {
			case queues[(m.channel*senders+m.lane)%publishers] <- m:
				return true
			case <-ctx.Done():
				return false
			}
		}, func() int64 {
			for _, q := range queues {
				close(q)
			}
			wg.Wait()
			return failed.Load()
		}
}

// post makes one request; code is why it was refused.
func (r *run) post(ctx context.Context, address string, body []byte) (code string) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "request"
	}
	request.Header.Set("Authorization", "Bearer "+r.o.APIKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "fanfare-bench")
	response, err := r.http.Do(request)
	if err != nil {
		return "unreachable"
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if response.StatusCode < http.StatusBadRequest && err == nil {
		return ""
	}
	var e struct{ Code string }
	if json.Unmarshal(answer, &e) != nil || e.Code == "" {
		e.Code = fmt.Sprintf("http_%d", response.StatusCode)
	}
	return e.Code
}
