package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"fanfare/client"
	"fanfare/internal/labtest"
)

const (
	apiKey = "watch-api-key-0123456789abcdef"
	// settings have two realtime servers, so that they can be told apart; rule 3 asks a back end.
	settings = `servers:
  - id: 1
    name: one
    enabled: true
    hash: one
    channels:
      - {id: 1, pattern: room, wildcard: true, enabled: true, anonymous_clients: true, presence: true, history: 100,
         client_public_messaging: true, client_private_messaging: true}
      - {id: 2, pattern: live, wildcard: true, enabled: true, anonymous_clients: true, history: 0, client_public_messaging: true}
      - id: 3
        pattern: asked
        enabled: true
        anonymous_clients: true
        history: 0
        client_public_messaging: true
        triggers: [{url: "%s", actions: {join: true, message: true}}]
  - id: 2
    name: two
    enabled: true
    hash: two
    channels:
      - {id: 4, pattern: live, wildcard: true, enabled: true, anonymous_clients: true, history: 0, client_public_messaging: true}
`
)

// backend answers triggers: everybody may join, and each message becomes another.
func backend(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); bytes.Contains(body, []byte(`"message"`)) {
			_, _ = io.WriteString(w, `{"seen":true}`)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// load keeps a cluster busy with everything that dashboards show, until its context ends.
type load struct {
	t        *testing.T
	c        *labtest.Cluster
	received atomic.Int64
	sent     atomic.Int64
	running  sync.WaitGroup
}

const people = 12 // on each gateway

func startLoad(ctx context.Context, t *testing.T, c *labtest.Cluster) *load {
	t.Helper()
	l := &load{t: t, c: c}
	for _, g := range c.Gateways {
		for i := range people {
			l.running.Go(func() { l.person(ctx, g.Addr, i) })
		}
		l.running.Go(func() { l.back(ctx, g.Addr) })
		l.running.Go(func() { l.restless(ctx, g.Addr) })
	}
	return l
}

// person sits in rooms and talks.
func (l *load) person(ctx context.Context, addr string, n int) {
	hash, names := "one", []string{"room/a", "live/a", "asked"}
	if n%3 == 2 {
		hash, names = "two", []string{"live/b"}
	}
	c, err := client.Dial(ctx, "ws://"+addr+"/rt/"+hash, client.Options{})
	if err != nil {
		return
	}
	defer c.Close()
	var channels []*client.Channel
	for _, name := range names {
		ch := c.Channel(name, client.ChannelOptions{Presence: true, History: true})
		if err := ch.Join(ctx); err != nil && ctx.Err() == nil {
			l.t.Errorf("join %s: %v", name, err)
		}
		channels = append(channels, ch)
		l.running.Go(func() {
			for _, err := range ch.Events(ctx) {
				if err == nil {
					l.received.Add(1)
				}
			}
		})
	}
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ch := channels[i%len(channels)]
		sending, done := context.WithTimeout(ctx, 5*time.Second)
		if _, err := ch.Send(sending, map[string]int{"n": i}); err == nil {
			l.sent.Add(1)
		}
		done()
		if i%40 == n && len(channels) > 1 {
			_, _ = channels[0].History(ctx, client.HistoryQuery{Limit: 10})
			_, _ = c.Channel("forbidden", client.ChannelOptions{}).Send(ctx, "an error")
		}
	}
}

// restless comes back again and again, and resumes.
func (l *load) restless(ctx context.Context, addr string) {
	for ctx.Err() == nil {
		visit, leave := context.WithTimeout(ctx, 2*time.Second)
		if c, err := client.Dial(visit, "ws://"+addr+"/rt/one", client.Options{}); err == nil {
			if ch := c.Channel("room/a", client.ChannelOptions{Presence: true}); ch.Join(visit) == nil {
				_ = ch.SetPresence(visit, map[string]bool{"typing": true})
				_, _ = ch.Next(visit)
			}
			_ = c.Close()
		}
		resume(visit, addr)
		if c, err := client.Dial(visit, "ws://"+addr+"/rt/one", client.Options{}); err == nil {
			_ = c.Channel(fmt.Sprint("room/", time.Now().Unix()), client.ChannelOptions{Presence: true}).Join(visit) // a view that is opened anew
			_ = c.Close()
		}
		<-visit.Done()
		leave()
	}
}

// resume joins a channel, goes, and comes back with its place and a token that is good for nothing.
func resume(ctx context.Context, addr string) {
	place := `{"offset":"0"}`
	for range 2 {
		socket, _, err := websocket.Dial(ctx, "ws://"+addr+"/rt/one", &websocket.DialOptions{Subprotocols: []string{"no.such.token"}})
		if err != nil {
			return
		}
		join := `{"action":"join","options":{"channel":"room/a"},"payload":{"history":true}}`
		if place != `{"offset":"0"}` {
			join = `{"action":"join","options":{"channel":"room/a"},"payload":{"resume":` + place + `}}`
		}
		_ = socket.Write(ctx, websocket.MessageText, []byte(join))
		for {
			_, frame, err := socket.Read(ctx)
			var answer struct {
				Action  string
				Options struct{ Offset, Epoch string }
			}
			if err != nil || json.Unmarshal(frame, &answer) == nil && answer.Action == "join" {
				place = fmt.Sprintf(`{"offset":%q,"epoch":%q}`, answer.Options.Offset, answer.Options.Epoch)
				break
			}
		}
		_ = socket.Close(websocket.StatusNormalClosure, "")
	}
}

// back is a back end: it publishes and looks.
func (l *load) back(ctx context.Context, addr string) {
	base := "http://" + addr + "/api/v1/one/"
	do := func(method, path string, body any) {
		text, _ := json.Marshal(body)
		request, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(text))
		if err != nil {
			return
		}
		request.Header.Set("Authorization", "Bearer "+apiKey)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		do(http.MethodPost, "events", map[string]any{"channel": "room/a", "data": i, "store": true, "id": fmt.Sprint(addr, i/2)})
		do(http.MethodGet, "channels", nil)
		do(http.MethodGet, "channels/room%2Fa/history?limit=5", nil)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
