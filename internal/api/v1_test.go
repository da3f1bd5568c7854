package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/protocol"
)

func TestEvent(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name, body string
		want       Event
	}{
		{"everyone", `{"channel":"room1","data":{"a": [1, 2]}}`, Event{Channel: "room1", Data: json.RawMessage(`{"a":[1,2]}`)}},
		{"null data", `{"channel":"room1","data":null}`, Event{Channel: "room1", Data: json.RawMessage(`null`)}},
		{"nobody in particular", `{"channel":"room1","data":"x","dbo_id":0,"row_id":0}`, Event{Channel: "room1", Data: json.RawMessage(`"x"`)}},
		{"as Xano writes it", `{"channel":"room1","data":"x","auth_table":"","auth_id":"0"}`, Event{Channel: "room1", Data: json.RawMessage(`"x"`)}},
		{
			"null everything", `{"channel":"room1","data":1,"dbo_id":null,"row_id":null,"socketId":null,"id":null,"store":null,"expect_offset":null}`,
			Event{Channel: "room1", Data: json.RawMessage(`1`)},
		},
		{
			"a user", `{"channel":"room1","data":1,"dbo_id":17,"row_id":3}`,
			Event{Channel: "room1", Data: json.RawMessage(`1`), Audience: protocol.Audience{Kind: protocol.User, DboID: 17, RowID: "3"}},
		},
		{
			"a user by other names", `{"channel":"room1","data":1,"auth_table":"17","auth_id":"3"}`,
			Event{Channel: "room1", Data: json.RawMessage(`1`), Audience: protocol.Audience{Kind: protocol.User, DboID: 17, RowID: "3"}},
		},
		{
			"a user with a UUID", `{"channel":"room1","data":1,"dbo_id":17,"row_id":"9f0c"}`,
			Event{Channel: "room1", Data: json.RawMessage(`1`), Audience: protocol.Audience{Kind: protocol.User, DboID: 17, RowID: `"9f0c"`}},
		},
		{
			"a socket", `{"channel":"room1","data":1,"socketId":"S"}`,
			Event{Channel: "room1", Data: json.RawMessage(`1`), Audience: protocol.Audience{Kind: protocol.Socket, Session: "S"}},
		},
		{"stored", `{"channel":"chat/a/b","data":1,"store":true}`, Event{Channel: "chat/a/b", Data: json.RawMessage(`1`), Store: true}},
		{"once", `{"channel":"chat/a","data":1,"id":"order-7:é"}`, Event{Channel: "chat/a", Data: json.RawMessage(`1`), Store: true, ID: "order-7:é"}},
		{"not to be stored, but once", `{"channel":"chat/b","data":1,"id":"x","store":false}`, Event{Channel: "chat/b", Data: json.RawMessage(`1`), Store: true, ID: "x"}},
		{"html stays", `{"channel":"room1","data":"<b>&\u2028"}`, Event{Channel: "room1", Data: json.RawMessage(`"<b>&\u2028"`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.backend.events = nil
			b.v1(http.MethodPost, "/events", c.body).want(t, http.StatusOK, "")
			if len(b.backend.events) != 1 {
				t.Fatalf("%d events", len(b.backend.events))
			}
			got := b.backend.events[0]
			if got.Server != b.store.Current().ByID(1) || got.Rule != got.Server.Rule(got.Channel) || got.Accepted.IsZero() {
				t.Errorf("event is not complete: %+v", got)
			}
			if got.Channel != c.want.Channel || string(got.Data) != string(c.want.Data) || got.Audience != c.want.Audience ||
				got.ID != c.want.ID || got.Store != c.want.Store {
				t.Errorf("event %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestEventAnswers(t *testing.T) {
	b := newBench(t)
	b.v1(http.MethodPost, "/events", `{"channel":"room1","data":1}`).want(t, http.StatusOK, "", `{"id":"made-up","offset":null,"stored":false}`)
	b.v1(http.MethodPost, "/events", `{"channel":"chat/a","data":1,"id":"x"}`).want(t, http.StatusOK, "", `{"id":"x","offset":"1","stored":true}`)
	b.v1(http.MethodPost, "/events", `{"channel":"chat/a","data":1,"id":"x"}`).want(t, http.StatusOK, "", `{"id":"x","offset":"1","stored":true,"duplicate":true}`)
	b.v1(http.MethodPost, "/events", `{"channel":"chat/a","data":1,"expect_offset":"1"}`).want(t, http.StatusOK, "", `"offset":"2"`)
	b.v1(http.MethodPost, "/events", `{"channel":"chat/a","data":1,"expect_offset":1}`).want(t, http.StatusConflict, "conflict")
	b.v1(http.MethodPost, "/events", `{"channel":"chat/b","data":1,"expect_offset":0}`).want(t, http.StatusOK, "", `"offset":"3"`)
}

func TestBadRequests(t *testing.T) {
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	b := newBench(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, text         string
	}{
		{http.MethodPost, "/events", ``, 400, "invalid_body", "ends too early"},
		{http.MethodPost, "/events", `[]`, 400, "invalid_body", "object"},
		{http.MethodPost, "/events", `{"channel":"room1"}`, 400, "invalid_field", "data: is required"},
		{http.MethodPost, "/events", `{"data":1}`, 400, "invalid_field", "channel: is required"},
		{http.MethodPost, "/events", `{"channel":1,"data":1}`, 400, "invalid_field", "channel: must be a string"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"sock":1}`, 400, "invalid_field", "sock: is not a known field"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"store":"yes"}`, 400, "invalid_field", "store: must be true or false"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":1}`, 400, "invalid_field", "row_id: is required beside dbo_id"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"auth_id":1}`, 400, "invalid_field", "is required beside auth_id"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":"x","row_id":1}`, 400, "invalid_field", "dbo_id: must be"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":1.5,"row_id":1}`, 400, "invalid_field", "dbo_id: must be"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":1,"row_id":true}`, 400, "invalid_field", "row_id: must be"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":1,"row_id":[]}`, 400, "invalid_field", "row_id: must be"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":1,"auth_table":1,"row_id":1}`, 400, "invalid_field", "another name of dbo_id"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"dbo_id":1,"row_id":1,"socketId":"s"}`, 400, "invalid_field", "socketId: cannot"},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"socketId":7}`, 400, "invalid_field", "socketId: must be a string"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"id":""}`, 400, "invalid_field", "id: must be 1 to 128"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"id":7}`, 400, "invalid_field", "id: must be a string"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"id":"a\r\nb"}`, 400, "invalid_field", "id: must not contain"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"id":"` + strings.Repeat("x", 129) + `"}`, 400, "invalid_field", "id: must be 1 to 128"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"expect_offset":"-1"}`, 400, "invalid_field", "expect_offset"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"expect_offset":1.5}`, 400, "invalid_field", "expect_offset"},
		{http.MethodPost, "/events", `{"channel":"chat/a","data":1,"expect_offset":{}}`, 400, "invalid_field", "expect_offset"},
		{http.MethodPost, "/events", "{\"channel\":\"a\xff\",\"data\":1}", 400, "invalid_field", "channel"},
		{http.MethodPost, "/events", `{"channel":"","data":1}`, 400, "invalid_channel", "empty"},
		{http.MethodPost, "/events", `{"channel":"` + strings.Repeat("x", 201) + `","data":1}`, 400, "invalid_channel", "too long"},
		{http.MethodPost, "/events", `{"channel":"` + strings.Repeat("x/", 17) + `","data":1}`, 400, "invalid_channel", "segments"},
		{http.MethodPost, "/events", `{"channel":"chat/*","data":1}`, 400, "pattern_send", ""},
		{http.MethodPost, "/events", `{"channel":"nowhere","data":1}`, 404, "channel_not_found", ""},
		{http.MethodPost, "/events", `{"channel":"chat","data":1}`, 404, "channel_not_found", ""},
		{http.MethodPost, "/events", `{"channel":"off","data":1}`, 404, "channel_not_found", ""},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"store":true}`, 422, "history_required", ""},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"id":"x"}`, 422, "history_required", ""},
		{http.MethodPost, "/events", `{"channel":"room1","data":1,"expect_offset":0}`, 422, "history_required", ""},
		{http.MethodPost, "/events", `{"channel":"room1","data":"` + strings.Repeat("x", 65536) + `"}`, 422, "too_large", "65538"},
		{http.MethodPost, "/events", `{"channel":"room1","data":` + deep + `}`, 422, "too_deep", "128"},
		{http.MethodPost, "/events", `{"channel":"room1","data":` + strings.Repeat("[", 20000) + `}`, 400, "invalid_field", "data"},
		{http.MethodPost, "/events", `{"channel":"room1","data":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "too_large", "1 MiB"},
		{http.MethodPost, "/events?x=1", `{"channel":"room1","data":1}`, 400, "invalid_parameter", "x"},
		{http.MethodGet, "/events", ``, 405, "method_not_allowed", "POST"},

		{http.MethodPost, "/events/batch", `{}`, 400, "invalid_field", "events: is required"},
		{http.MethodPost, "/events/batch", `{"events":{}}`, 400, "invalid_field", "events: must be a list"},
		{http.MethodPost, "/events/batch", `{"events":[],"atomc":true}`, 400, "invalid_field", "atomc"},
		{http.MethodPost, "/events/batch", `{"events":[{"channel":"room1","data":1},{"data":1}]}`, 400, "invalid_field", "events[1].channel: is required"},
		{http.MethodPost, "/events/batch", `{"events":[{"channel":"room1","data":1,"x":1}]}`, 400, "invalid_field", "events[0].x"},
		{http.MethodPost, "/events/batch", `{"events":[` + strings.Repeat(`{"channel":"a","data":1},`, 1000) + `{"channel":"a","data":1}]}`, 400, "invalid_field", "1001"},

		{http.MethodGet, "/channels?limit=-5", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "/channels?prefixx=a", "", 400, "invalid_parameter", "prefixx"},
		{http.MethodGet, "/channels?prefix=%ff", "", 400, "invalid_parameter", "prefix"},
		{http.MethodGet, "/channels?channel=nowhere", "", 404, "channel_not_found", ""},
		{http.MethodGet, "/channels?" + strings.Repeat("channel=room1&", 101), "", 400, "invalid_parameter", "channel"},
		{http.MethodGet, "/channels/nowhere/presence", "", 404, "channel_not_found", ""},
		{http.MethodGet, "/channels/%FF/presence", "", 400, "invalid_channel", ""},
		{http.MethodGet, "/channels//presence", "", 404, "not_found", ""},
		{http.MethodGet, "/channels/room1/presence?limit=x", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "/channels/chat/sports/presence", "", 404, "not_found", ""},
		{http.MethodGet, "/channels/nowhere/history", "", 404, "channel_not_found", ""},
		{http.MethodGet, "/channels/chat%2Fa/history?limit=0", "", 400, "invalid_parameter", "limit"},
		{http.MethodGet, "/channels/chat%2Fa/history?before=x", "", 400, "invalid_parameter", "before"},
		{http.MethodGet, "/channels/chat%2Fa/history?after=-1", "", 400, "invalid_parameter", "after"},
		{http.MethodGet, "/channels/chat%2Fa/history?since=yesterday", "", 400, "invalid_parameter", "since"},
		{http.MethodGet, "/channels/chat%2Fa/history?since=99999999999999999", "", 400, "invalid_parameter", "since"},
		{http.MethodGet, "/channels/chat%2Fa/history?before=1&after=2", "", 400, "invalid_parameter", "before"},
		{http.MethodGet, "/channels/chat%2Fa/history?before=1&since=2", "", 400, "invalid_parameter", "before"},
		{http.MethodGet, "/channels/chat%2F*/history?before=1", "", 422, "pattern_paging", ""},

		{http.MethodPost, "/disconnect", `{}`, 400, "invalid_body", "must name"},
		{http.MethodPost, "/disconnect", `{"dbo_id":0,"row_id":0}`, 400, "invalid_body", "must name"},
		{http.MethodPost, "/disconnect", `{"dbo_id":17}`, 400, "invalid_field", "row_id"},
		{http.MethodPost, "/disconnect", `{"user":17}`, 400, "invalid_field", "user"},

		{http.MethodGet, "/lifecycle", "", 404, "lifecycle_off", "FANFARE_LIFECYCLE_RETENTION"},
		{http.MethodGet, "/lifecycle?wait=never", "", 400, "invalid_parameter", "wait"},
		{http.MethodGet, "/explain", "", 400, "invalid_parameter", "channel is required"},
		{http.MethodGet, "/explain?channel=a&op=fly", "", 400, "invalid_parameter", "op"},
		{http.MethodGet, "/explain?channel=a&dbo_id=x", "", 400, "invalid_parameter", "dbo_id"},
		{http.MethodGet, "/explain?channel=" + strings.Repeat("a", 300), "", 400, "invalid_channel", ""},
		{http.MethodGet, "/nothing", "", 404, "not_found", ""},
	} {
		name := c.method + " " + c.path + " " + c.body
		t.Run(name[:min(len(name), 100)], func(t *testing.T) {
			r := b.v1(c.method, c.path, c.body).want(t, c.status, c.code, c.text)
			if r.header.Get("Content-Type") != "application/json" {
				t.Errorf("the error is %s", r.header.Get("Content-Type"))
			}
		})
	}
	if n := len(b.backend.events); n != 0 {
		t.Errorf("%d refused events were published", n)
	}
}

func TestUnknownPathsAnswerJSON(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/api", "/api/", "/api/v1", "/api:meta", "/api:meta/workspace/", "/api/v2/demo/events", "/api/v1/demo/events/", "/x%zz"} {
		if path == "/x%zz" {
			continue // net/http refuses it before us
		}
		b.call(http.MethodGet, path, "", "").want(t, http.StatusNotFound, "not_found")
	}
	r := b.call("BREW", "/api/v1/demo/channels", apiKey, "").want(t, http.StatusMethodNotAllowed, "method_not_allowed")
	if r.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %s", r.header.Get("Allow"))
	}
	b.call(http.MethodHead, "/api/v1/demo/channels", apiKey, "").want(t, http.StatusOK, "")
	b.call(http.MethodGet, "/api/v1/none/channels", apiKey, "").want(t, http.StatusNotFound, "unknown_hash")
	b.admin(http.MethodPut, "/1", `{"enabled":false}`).want(t, http.StatusOK, "")
	b.v1(http.MethodGet, "/channels", "").want(t, http.StatusNotFound, "realtime_disabled")
	b.v1(http.MethodGet, "/explain?channel=room1", "").want(t, http.StatusOK, "", "disabled")
}

func TestBatch(t *testing.T) {
	b := newBench(t)
	r := b.v1(http.MethodPost, "/events/batch", `{"events":[
		{"channel":"room1","data":1},
		{"channel":"nowhere","data":1},
		{"channel":"chat/a","data":1,"id":"x"},
		{"channel":"chat/a","data":1,"expect_offset":"77"},
		{"channel":"room1","data":1,"store":true}]}`).want(t, http.StatusOK, "")
	var got struct {
		Items []struct {
			ID     string
			Offset *string
			Error  *struct {
				Status int
				Code   string
			}
		}
	}
	r.json(t, &got)
	var text []string
	for _, i := range got.Items {
		if i.Error != nil {
			text = append(text, fmt.Sprint(i.Error.Status, " ", i.Error.Code))
			continue
		}
		text = append(text, i.ID)
	}
	if s := strings.Join(text, ", "); s != "made-up, 404 channel_not_found, x, 409 conflict, 422 history_required" {
		t.Errorf("answers are %s", s)
	}
	b.v1(http.MethodPost, "/events/batch", `{"events":[]}`).want(t, http.StatusOK, "", `"items":[]`)
}

func TestAtomicBatch(t *testing.T) {
	b := newBench(t)
	const two = `{"atomic":true,"events":[{"channel":"chat/a","data":1},{"channel":"chat/b","data":2}]}`
	b.v1(http.MethodPost, "/events/batch", two).want(t, http.StatusUnprocessableEntity, "atomic_unsupported", "Nothing was published")
	b.backend.atomic = true
	b.v1(http.MethodPost, "/events/batch", two).want(t, http.StatusOK, "", `"offset":"1"`, `"offset":"2"`)
	if !b.backend.events[0].Store || !b.backend.events[1].Store {
		t.Error("atomic did not imply store")
	}
	b.v1(http.MethodPost, "/events/batch", `{"atomic":true,"events":[{"channel":"chat/a","data":1},{"channel":"room1","data":2}]}`).
		want(t, http.StatusUnprocessableEntity, "history_required", `"index":1`)
	b.v1(http.MethodPost, "/events/batch", `{"atomic":true,"events":[{"channel":"chat/a","data":1},{"channel":"chat/b","data":2,"expect_offset":"9"}]}`).
		want(t, http.StatusConflict, "conflict", `"index":1`)
	if n := len(b.backend.events); n != 2 {
		t.Errorf("%d events, want the 2 of the good batch", n)
	}
	b.backend.fail = ErrAtomicLimit
	b.v1(http.MethodPost, "/events/batch", two).want(t, http.StatusUnprocessableEntity, "atomic_limit")
}

func TestChannels(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.backend.members[protocol.Channel(fmt.Sprint("chat/", i))] = []protocol.SessionID{"a", "b"}
	}
	b.backend.members["room1"] = []protocol.SessionID{"a", "b", "c"}
	var all []string
	for path := "/channels?limit=2&prefix=chat/"; ; {
		var got struct {
			Items []ChannelState
			Next  *string
		}
		b.v1(http.MethodGet, path, "").want(t, http.StatusOK, "").json(t, &got)
		for _, c := range got.Items {
			all = append(all, string(c.Channel))
		}
		if got.Next == nil {
			break
		}
		path = "/channels?limit=2&prefix=chat/&cursor=" + *got.Next
	}
	if s := strings.Join(all, " "); s != "chat/0 chat/1 chat/2 chat/3 chat/4" {
		t.Errorf("pages hold %s", s)
	}
	b.v1(http.MethodGet, "/channels?channel=chat%2F9&channel=room1", "").
		want(t, http.StatusOK, "", `{"items":[{"channel":"chat/9","occupancy":0},{"channel":"room1","occupancy":3}],"next":null}`)
	b.v1(http.MethodGet, "/channels?prefix=none", "").want(t, http.StatusOK, "", `{"items":[],"next":null}`)
	b.v1(http.MethodGet, "/channels?limit=100000", "").want(t, http.StatusOK, "")
}

func TestPresence(t *testing.T) {
	b := newBench(t)
	b.backend.members["chat/a b"] = []protocol.SessionID{"s1", "s2", "s3"}
	var got struct {
		Items []struct{ SocketID string }
		Next  *string
	}
	b.v1(http.MethodGet, "/channels/chat%2Fa%20b/presence?limit=2", "").want(t, http.StatusOK, "").json(t, &got)
	if len(got.Items) != 2 || got.Next == nil || got.Items[1].SocketID != "s2" {
		t.Fatalf("first page %+v", got)
	}
	b.v1(http.MethodGet, "/channels/chat%2Fa%20b/presence?limit=2&cursor="+*got.Next, "").want(t, http.StatusOK, "").json(t, &got)
	if len(got.Items) != 1 || got.Next != nil || got.Items[0].SocketID != "s3" {
		t.Errorf("second page %+v", got)
	}
	b.backend.fail = protocol.ErrPresenceDisabled
	b.v1(http.MethodGet, "/channels/room1/presence", "").want(t, http.StatusUnprocessableEntity, "presence_disabled")
}

func TestHistory(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.v1(http.MethodPost, "/events", fmt.Sprintf(`{"channel":"chat/a","data":%d,"store":true}`, i)).want(t, http.StatusOK, "")
	}
	b.v1(http.MethodGet, "/channels/chat%2Fa/history?limit=2", "").want(t, http.StatusOK, "", `"data":3`, `"data":4`, `"more":true`)
	b.v1(http.MethodGet, "/channels/chat%2Fa/history", "").want(t, http.StatusOK, "", `"data":0`, `"more":false`)
	b.v1(http.MethodGet, "/channels/chat%2F*/history?since=2026-01-02T03:04:05Z", "").want(t, http.StatusOK, "", `"data":0`)
	b.v1(http.MethodGet, "/channels/chat%2F*/history?since=2026-01-02T03:04:05+02:00", "").want(t, http.StatusOK, "")
	b.v1(http.MethodGet, "/channels/chat%2F*/history?since=1700000000000", "").want(t, http.StatusOK, "")
	b.v1(http.MethodGet, "/channels/chat%2Fa/history?after=1&since=1700000000000", "").want(t, http.StatusOK, "")
	// A channel that keeps none answers an empty page, as it does on the socket.
	b.v1(http.MethodGet, "/channels/room1/history", "").want(t, http.StatusOK, "", `{"items":[],"more":false}`)
}

func TestLargeHistoryIsCut(t *testing.T) {
	frame := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	full := HistoryPage{}
	for range 20 {
		full.Frames = append(full.Frames, frame)
	}
	full.Frames[0], full.Frames[19] = json.RawMessage(`"first"`), json.RawMessage(`"last"`)
	newest, oldest := bounded(full, true), bounded(full, false)
	for name, p := range map[string]historyDoc{"newest": newest, "oldest": oldest} {
		if len(p.Items) != 8 || !p.More {
			t.Errorf("%s: %d frames, more %v", name, len(p.Items), p.More)
		}
	}
	if string(newest.Items[7]) != `"last"` || string(oldest.Items[0]) != `"first"` {
		t.Error("the wrong end was cut")
	}
	huge := bounded(HistoryPage{Frames: []json.RawMessage{json.RawMessage(strings.Repeat("x", maxAnswerBytes+1))}}, true)
	if len(huge.Items) != 1 || huge.More {
		t.Error("a single frame must stay, or paging stands still")
	}
}

func TestDisconnect(t *testing.T) {
	b := newBench(t)
	b.v1(http.MethodPost, "/disconnect", `{"dbo_id":17,"row_id":"3"}`).want(t, http.StatusOK, "", `{"disconnected":2}`)
	b.v1(http.MethodPost, "/disconnect", `{"auth_table":17,"auth_id":3}`).want(t, http.StatusOK, "")
	b.v1(http.MethodPost, "/disconnect", `{"socketId":"S"}`).want(t, http.StatusOK, "")
	if q := b.backend.ended; len(q) != 3 || q[0].DboID != 17 || q[0].RowID != "3" || q[1] != q[0] || q[2].Session != "S" {
		t.Errorf("asked for %+v", q)
	}
}

func TestConnections(t *testing.T) {
	b := newBench(t)
	b.v1(http.MethodGet, "/connections", "").want(t, http.StatusOK, "", `{"items":[],"next":null,"unanswered":[]}`)
	b.backend.silent = []protocol.NodeID{"gw000002"}
	b.backend.sockets = map[protocol.SessionID]json.RawMessage{}
	for _, id := range []protocol.SessionID{"A", "B", "C"} {
		b.backend.sockets[id] = json.RawMessage(`{"socketId":"` + id + `","gateway":"gw000001","state":"closed","authenticated":true,` +
			`"permissions":{"dbo_id":7,"row_id":"x"},"connected":"2026-01-02T03:04:05Z","backlog_bytes":3,"channels_total":1,"left":[],` +
			`"channels":[{"channel":"room1","joined":"2026-01-02T03:04:05Z","stored":true,"joined_offset":"0","offset":"17","presence":false}],` +
			`"closed":"2026-01-02T03:04:05Z","code":1013,"reason":"slow_backlog"}`)
	}
	var page struct {
		Items []struct{ SocketID string }
		Next  string
	}
	b.v1(http.MethodGet, "/connections?limit=2&dbo_id=7&row_id=x&channel=room1", "").want(t, http.StatusOK, "", `"unanswered":["gw000002"]`).json(t, &page)
	if len(page.Items) != 2 || page.Next == "" {
		t.Fatalf("%+v", page)
	}
	if q := b.backend.asked[1]; !q.User || q.DboID != 7 || q.RowID != `"x"` || q.Channel != "room1" || q.Limit != 2 {
		t.Errorf("asked for %+v", q)
	}
	b.v1(http.MethodGet, "/connections?cursor="+page.Next, "").want(t, http.StatusOK, "", `"socketId":"C"`, `"next":null`)
	b.v1(http.MethodGet, "/connections?socketId=B&limit=1000", "").want(t, http.StatusOK, "", `"socketId":"B"`)
	if q := b.backend.asked[3]; q.User || q.Session != "B" || q.Limit != maxConnections {
		t.Errorf("asked for %+v", q)
	}
	for _, bad := range []string{"dbo_id=-1", "dbo_id=x", "limit=0", "cursor=%21", "row_id=%ff", "rowid=1"} {
		b.v1(http.MethodGet, "/connections?"+bad, "").want(t, http.StatusBadRequest, "")
	}
}

func TestHistoryTimes(t *testing.T) {
	b := newBench(t)
	b.v1(http.MethodPost, "/events", `{"channel":"chat/a","data":1,"store":true}`).want(t, http.StatusOK, "")
	var page struct {
		Items []json.RawMessage
		Times []time.Time
	}
	b.v1(http.MethodGet, "/channels/chat%2Fa/history?times=true", "").want(t, http.StatusOK, "").json(t, &page)
	if len(page.Items) != 1 || len(page.Times) != 1 || page.Times[0].IsZero() {
		t.Errorf("%+v", page)
	}
	if r := b.v1(http.MethodGet, "/channels/chat%2Fa/history", ""); strings.Contains(string(r.body), "times") {
		t.Errorf("%s", r.body)
	}
	b.v1(http.MethodGet, "/channels/chat%2Fa/history?times=x", "").want(t, http.StatusBadRequest, "")
	for _, newest := range []bool{true, false} {
		p := HistoryPage{}
		for i := range 3 {
			p.Frames = append(p.Frames, json.RawMessage(strings.Repeat(strconv.Itoa(i), maxAnswerBytes/2)))
			p.Times = append(p.Times, time.UnixMilli(int64(i)))
		}
		doc := bounded(p, newest)
		if len(doc.Items) != 2 || len(doc.Times) != 2 || doc.Times[0].UnixMilli() != int64(doc.Items[0][0]-'0') || !doc.More {
			t.Errorf("newest %v: %d items, times %v", newest, len(doc.Items), doc.Times)
		}
	}
}

func TestBackendErrors(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{protocol.ErrUnavailable, 503, "unavailable"},
		{fmt.Errorf("%w: nats: timeout", ErrUnavailable), 503, "unavailable"},
		{protocol.ErrOverloaded, 503, "overloaded"},
		{fmt.Errorf("publish: %w", protocol.ErrUnknownOutcome), 504, "unknown_outcome"},
		{context.DeadlineExceeded, 504, "unknown_outcome"},
		{protocol.ErrRecipientNotFound, 404, "recipient_not_found"},
		{&protocol.Error{Code: protocol.CodeTooLarge, Message: "x"}, 422, "too_large"},
		{&protocol.Error{Code: protocol.CodeRateLimited, Message: "x", RetryAfter: 7}, 429, "rate_limited"},
		{ErrOffsetConflict, 409, "conflict"},
		{errors.New("password is hunter2"), 500, "internal"},
	} {
		b.backend.fail = c.err
		r := b.v1(http.MethodPost, "/events", `{"channel":"room1","data":1}`).want(t, c.status, c.code)
		if strings.Contains(string(r.body), "hunter2") {
			t.Errorf("the answer tells too much: %s", r.body)
		}
		if (c.status == 503 || c.code == "rate_limited") && r.header.Get("Retry-After") == "" {
			t.Errorf("%s without Retry-After", c.code)
		}
		b.v1(http.MethodPost, "/events/batch", `{"events":[{"channel":"room1","data":1}]}`).want(t, c.status, c.code)
		if c.code != "unknown_outcome" && c.code != "conflict" {
			b.v1(http.MethodGet, "/channels", "").want(t, c.status, c.code)
			b.v1(http.MethodGet, "/channels/room1/presence", "").want(t, c.status, c.code)
			b.v1(http.MethodGet, "/channels/chat%2Fa/history", "").want(t, c.status, c.code)
			b.v1(http.MethodPost, "/disconnect", `{"socketId":"x"}`).want(t, c.status, c.code)
			b.v1(http.MethodGet, "/connections", "").want(t, c.status, c.code)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	b := newBench(t)
	var group sync.WaitGroup
	won := make(chan struct{}, 100)
	for range 16 {
		group.Go(func() {
			if r := b.v1(http.MethodPost, "/events", `{"channel":"chat/race","data":1,"expect_offset":0}`); r.status == http.StatusOK {
				won <- struct{}{}
			}
			b.v1(http.MethodGet, "/channels", "").want(t, http.StatusOK, "")
		})
	}
	group.Wait()
	if len(won) != 1 {
		t.Errorf("%d won, want 1", len(won))
	}
}

func TestExplain(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ query, want string }{
		{"channel=room1", `"allowed":true`},
		{"channel=room1&op=send", `"audience":"everyone"`},
		{"channel=chat%2Fa", `"code":"anonymous_not_allowed"`},
		{"channel=chat%2Fa&dbo_id=1&row_id=2", `"allowed":true`},
		{"channel=chat%2Fa&op=send_authenticated&authenticated=true", `"audience":"authenticated"`},
		{"channel=chat%2Fa&op=send_private&authenticated=true&target_authenticated=false", `"flag":"client_private_messaging_authenticated_only"`},
		{"channel=chat%2F*&authenticated=true", `"flag":"pattern_join"`},
		{"channel=chat", "covers what is below it"},
		{"channel=off", "it is disabled"},
		{"channel=zzz&op=history", `"rule":null`},
		{"channel=hook&row_id=1&authenticated=true", "A trigger of the rule is asked besides"},
	} {
		b.v1(http.MethodGet, "/explain?"+c.query, "").want(t, http.StatusOK, "", c.want)
	}
}
