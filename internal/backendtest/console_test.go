package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/consoleapi"
	"fanfare/internal/natstest"
)

// two starts two gateways over one broker, with the console and a secret for tokens.
func two(t *testing.T) (one, other string, stopOther func()) {
	t.Helper()
	nats := natstest.Single(t)
	start := func() (string, func()) {
		dir := t.TempDir()
		return startNode(t, func(c *config.Config) {
			c.NATS.URLs, c.NATS.Replicas, c.DataDir = []config.Address{config.NewAddress(nats.URL())}, 1, filepath.Join(dir, "data")
			c.AdminToken, c.Auth.JWTSecret = config.NewSecret("admin-of-test"), config.NewSecret("0123456789abcdef0123456789abcdef")
		})
	}
	one, _ = start()
	other, stopOther = start()
	return one, other, stopOther
}

// console is somebody signed in at a gateway.
type console struct {
	t      *testing.T
	addr   string
	cookie *http.Cookie
}

func (c *console) ask(method, path, body string, into any) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.addr+"/console/api/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Fanfare-Console", "1")
	if c.cookie != nil {
		req.AddCookie(c.cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if cookies := resp.Cookies(); len(cookies) > 0 {
		c.cookie = cookies[0]
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			c.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
		}
	}
	return resp.StatusCode
}

func signIn(t *testing.T, addr string) *console {
	t.Helper()
	c := &console{t: t, addr: addr}
	if status := c.ask(http.MethodPost, "session", `{"token":"admin-of-test"}`, nil); status != http.StatusOK {
		t.Fatalf("sign-in: %d", status)
	}
	return c
}

type connection struct {
	SocketID      string
	Gateway       string
	State         string
	Authenticated bool
	Permissions   struct {
		RowID int64 `json:"row_id"`
	}
	Channels []struct{ Channel, Offset string }
	Code     int
	Reason   string
}

type connectionList struct {
	Items      []connection
	Next       *string
	Unanswered []string
}

// TestConsoleOfTwoGateways: what the console shows is put together from all gateways, whichever one answers.
func TestConsoleOfTwoGateways(t *testing.T) {
	one, other, stopOther := two(t)
	seer := signIn(t, one)
	var minted struct{ Token string }
	if status := seer.ask(http.MethodPost, "mint", `{"dbo_id":5,"row_id":17,"extras":{"name":"Ada"}}`, &minted); status != http.StatusOK {
		t.Fatalf("mint: %d", status)
	}
	ada, err := client.Dial(t.Context(), "ws://"+other+"/rt/demo", client.Options{Token: func(context.Context) (string, error) { return minted.Token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ada.Close() })
	room := join(t, ada, "room1")
	guest := join(t, dial(t, one), "room1")

	// Messages through both gateways.
	for i := range 10 {
		from := room
		if i%2 == 1 {
			from = guest
		}
		if _, err := from.Send(t.Context(), map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(query string) (l connectionList) {
		t.Helper()
		if status := call(t, one, http.MethodGet, "/connections?"+query, nil, &l); status != http.StatusOK {
			t.Fatalf("connections: %d", status)
		}
		return l
	}
	var all connectionList
	natstest.Eventually(t, "the gateways know each other", func() bool { all = list(""); return len(all.Items) == 2 })
	if all.Items[0].Gateway == all.Items[1].Gateway || all.Next != nil || len(all.Unanswered) != 0 {
		t.Fatalf("%+v", all)
	}
	first := list("limit=1")
	if len(first.Items) != 1 || first.Next == nil || first.Items[0].SocketID != all.Items[0].SocketID {
		t.Fatalf("%+v", first)
	}
	if second := list("limit=1&cursor=" + *first.Next); len(second.Items) != 1 || second.Items[0].SocketID != all.Items[1].SocketID {
		t.Errorf("%+v", second)
	}
	var hers connection
	natstest.Eventually(t, "ten messages are with her", func() bool {
		l := list("dbo_id=5&row_id=17")
		if len(l.Items) != 1 {
			t.Fatalf("%+v", l)
		}
		hers = l.Items[0]
		n, err := strconv.Atoi(hers.Channels[0].Offset)
		return err == nil && n >= 10
	})
	if !hers.Authenticated || hers.Permissions.RowID != 17 || hers.State != "open" {
		t.Errorf("%+v", hers)
	}

	// Where the time goes on her gateway, asked of the other one.
	type trace struct {
		ID, Origin, Offset                  string
		Accepted, Arrived, Flushed, Written time.Time
	}
	var traces struct {
		Now   time.Time
		Items []trace
	}
	path := "traces?" + url.Values{"server": {"1"}, "channel": {"room1"}, "socketId": {hers.SocketID}}.Encode()
	if status := seer.ask(http.MethodGet, path, "", &traces); status != http.StatusOK || len(traces.Items) != 0 {
		t.Fatalf("traces: %d %+v", status, traces)
	}
	if _, err := guest.Send(t.Context(), "traced"); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "a trace", func() bool {
		return seer.ask(http.MethodGet, path, "", &traces) == http.StatusOK && len(traces.Items) == 1
	})
	if tr := traces.Items[0]; tr.Arrived.Before(tr.Accepted) || tr.Flushed.Before(tr.Arrived) || tr.Written.Before(tr.Flushed) ||
		traces.Now.Before(tr.Written) || tr.Offset == "" || strings.HasPrefix(hers.SocketID, tr.Origin) {
		t.Errorf("%+v", tr)
	}

	var live struct {
		Sockets  int
		Gateways []consoleapi.GatewayState
		Measures []consoleapi.GatewayMeasures
	}
	natstest.Eventually(t, "the measures of both", func() bool {
		if seer.ask(http.MethodGet, "live?server=1", "", &live) != http.StatusOK || len(live.Measures) != 2 {
			return false
		}
		for _, m := range live.Measures {
			// Each has one member, and fanned out all eleven to it.
			if m.Values["sessions"][""] != 1 || m.Values["deliveries_total"]["message"] != 11 || m.Histograms["fanout_latency_seconds"][""].Count != 11 {
				return false
			}
		}
		return live.Sockets == 2 && live.Measures[0].Gateway != live.Measures[1].Gateway
	})

	// Her gateway drains: the others are asked, and what it remembered goes with it.
	stopOther()
	natstest.Eventually(t, "one gateway is left", func() bool {
		return seer.ask(http.MethodGet, "live?server=1", "", &live) == http.StatusOK && len(live.Measures) == 1
	})
	if status := seer.ask(http.MethodGet, path, "", nil); status != http.StatusNotFound {
		t.Errorf("traces of a gateway that is gone: %d", status)
	}
}
