package protocol_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/protocol"
)

// The golden frames under testdata/frames are the wire as clients in other languages see it too: server-*.json
// is what the encoders make, client-*.json is what Decode must understand. One frame a file, exact text.
var update = flag.Bool("update", false, "rewrite testdata/frames/server-*.json")

var (
	anonymous = protocol.Member{Session: "gate0001S1", Identity: &protocol.Identity{}}
	jo        = protocol.Member{Session: "gate0001S2", Identity: &protocol.Identity{
		Authenticated: true, DboID: 17, RowID: protocol.RowIDFromInt(3), Extras: json.RawMessage(`{"name":"Jo"}`),
	}}
	uuid = protocol.Member{Session: "gate0002S3", Identity: &protocol.Identity{
		Authenticated: true, DboID: 17, RowID: protocol.RowIDFromString("9f0c4d1e-5b7a-4c0e-9a52-3f6f1f2b7c11"),
	}}
)

func message(channel protocol.Channel, audience protocol.Audience, sender protocol.Member, payload string, offset uint64) *protocol.Publication {
	p := &protocol.Publication{Channel: channel, Kind: protocol.KindMessage, Audience: audience, Offset: offset, ID: "m1"}
	p.Frame, p.Splice = protocol.AppendMessage(nil, channel, audience, p.ID, sender, []byte(payload))
	return p
}

func event(channel protocol.Channel, audience protocol.Audience, data string, offset uint64) *protocol.Publication {
	p := &protocol.Publication{Channel: channel, Kind: protocol.KindEvent, Audience: audience, Offset: offset, ID: "e1"}
	p.Frame, p.Splice = protocol.AppendEvent(nil, channel, audience, p.ID, []byte(data))
	return p
}

func full(channel protocol.Channel, source protocol.Channel, members ...protocol.Member) []byte {
	b := protocol.AppendPresenceFullHead(nil, channel)
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = protocol.AppendMember(b, m, source)
	}
	return append(b, protocol.PresenceFullTail...)
}

func serverFrames() map[string][]byte {
	const room, sports, pattern = protocol.Channel("chat/1"), protocol.Channel("chat/sports"), protocol.Channel("chat/*")
	everyone := protocol.Audience{}
	authenticated := protocol.Audience{Kind: protocol.Authenticated}
	private := protocol.Audience{Kind: protocol.Socket, Session: anonymous.Session}
	user := protocol.Audience{Kind: protocol.User, DboID: 17, RowID: protocol.RowIDFromInt(3)}
	busy := jo
	busy.Data = json.RawMessage(`{"cursor":[1,2],"typing":true}`)
	position := protocol.Position{Epoch: "e7", Offset: 42}
	update := func(channel, source protocol.Channel, action protocol.PresenceAction, m protocol.Member) []byte {
		return protocol.AppendPresenceUpdate(nil, channel, source, action, protocol.AppendMember(nil, m, source))
	}
	failure := func(e *protocol.Error) []byte { return protocol.AppendError(nil, room, "", e) }
	stored := []*protocol.Publication{
		message(room, everyone, anonymous, `"hi"`, 41),
		message(room, authenticated, jo, `{"any":["json",null,1.50]}`, 42),
	}
	return map[string][]byte{
		"join":                   protocol.AppendJoin(nil, room, anonymous, false, protocol.Position{}, protocol.ResumeNotAsked),
		"join-authenticated":     protocol.AppendJoin(nil, room, jo, false, protocol.Position{}, protocol.ResumeNotAsked),
		"join-history":           protocol.AppendJoin(nil, room, anonymous, true, position, protocol.ResumeNotAsked),
		"join-history-empty":     protocol.AppendJoin(nil, room, anonymous, true, protocol.Position{Epoch: "e7"}, protocol.ResumeNotAsked),
		"join-resumed":           protocol.AppendJoin(nil, room, anonymous, true, position, protocol.ResumedWhole),
		"join-not-resumed":       protocol.AppendJoin(nil, room, anonymous, true, position, protocol.ResumedNot),
		"presence-full":          full(room, "", anonymous, jo),
		"presence-full-data":     full(room, "", busy, uuid),
		"presence-full-empty":    full(room, ""),
		"presence-full-pattern":  full(pattern, sports, anonymous, busy),
		"presence-join":          update(room, "", protocol.PresenceJoin, anonymous),
		"presence-leave":         update(room, "", protocol.PresenceLeave, jo),
		"presence-update":        update(room, "", protocol.PresenceUpdate, busy),
		"presence-join-pattern":  update(pattern, sports, protocol.PresenceJoin, anonymous),
		"message":                message(room, everyone, anonymous, `{"any":"json"}`, 0).Frame,
		"message-null":           message(room, everyone, anonymous, ``, 0).Frame,
		"message-authenticated":  message(room, authenticated, jo, `"for members"`, 0).Frame,
		"message-private":        message(room, private, jo, `"psst"`, 0).Frame,
		"message-uuid":           message(room, everyone, uuid, `1`, 0).Frame,
		"message-stored":         protocol.AppendPublication(nil, stored[0]),
		"message-pattern":        protocol.AppendForPattern(nil, message(sports, everyone, anonymous, `"goal"`, 0), pattern),
		"message-pattern-stored": protocol.AppendForPattern(nil, message(sports, everyone, anonymous, `"goal"`, 7), pattern),
		"message-escaped":        message("a\"b\\c\nd\x01é…😀", everyone, anonymous, `"é"`, 0).Frame,
		"event":                  event(room, everyone, `{"any":"json"}`, 0).Frame,
		"event-user":             event(room, user, `{"order":9}`, 0).Frame,
		"event-stored":           protocol.AppendPublication(nil, event(room, everyone, `[1,2]`, 43)),
		"event-pattern":          protocol.AppendForPattern(nil, event(sports, everyone, `true`, 44), pattern),
		"history":                protocol.AppendHistory(nil, room, stored, protocol.HistoryUnpaged),
		"history-empty":          protocol.AppendHistory(nil, room, nil, protocol.HistoryUnpaged),
		"history-more":           protocol.AppendHistory(nil, room, stored[:1], protocol.HistoryHasMore),
		"history-no-more":        protocol.AppendHistory(nil, room, stored[1:], protocol.HistoryNoMore),
		"history-pattern":        protocol.AppendHistory(nil, pattern, []*protocol.Publication{message(sports, everyone, jo, `"goal"`, 7)}, protocol.HistoryNoMore),
		"ack":                    protocol.AppendAck(nil, room, "r1", "m1", 0),
		"ack-stored":             protocol.AppendAck(nil, room, "r1", "m1", 42),
		"error-anonymous":        failure(protocol.ErrAnonymousDenied),
		"error-gap":              failure(&protocol.Error{Code: protocol.CodeGap, Message: "Messages were missed."}),
		"error-rate-limited":     failure(&protocol.Error{Code: protocol.CodeRateLimited, Message: "Too many messages.", RetryAfter: 2}),
		"error-ref":              protocol.AppendError(nil, room, "r1", protocol.ErrPublicDisabled),
		"error-ref-no-channel":   protocol.AppendError(nil, "", "r1", protocol.ErrInvalidMessage),
		"error-connection":       protocol.AppendError(nil, "", "", protocol.ErrUnknownHash),
	}
}

func TestServerFrames(t *testing.T) {
	frames := serverFrames()
	for name, got := range frames {
		path := filepath.Join("testdata", "frames", "server-"+name+".json")
		if *update {
			if err := os.WriteFile(path, append(bytes.Clone(got), '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%s: %v (run with -update)", name, err)
			continue
		}
		if want = bytes.TrimSuffix(want, []byte("\n")); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		if !json.Valid(got) {
			t.Errorf("%s is not valid JSON: %s", name, got)
		}
	}
	files, err := filepath.Glob("testdata/frames/server-*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "server-"), ".json")
		if _, ok := frames[name]; !ok {
			t.Errorf("%s is made by no encoder", f)
		}
	}
}

// TestServerFramesShape asserts what strict decoders of stock clients rely on (xano-realtime.md 4.5).
func TestServerFramesShape(t *testing.T) {
	type member struct {
		SocketID    *string         `json:"socketId"`
		Extras      *map[string]any `json:"extras"`
		Permissions *struct {
			DboID *int64          `json:"dbo_id"`
			RowID json.RawMessage `json:"row_id"`
		} `json:"permissions"`
	}
	check := func(t *testing.T, name string, m *member) {
		t.Helper()
		switch {
		case m == nil || m.SocketID == nil || m.Extras == nil || *m.Extras == nil || m.Permissions == nil || m.Permissions.DboID == nil:
			t.Errorf("%s: client object is not whole", name)
		case len(m.Permissions.RowID) == 0 || string(m.Permissions.RowID) == "null":
			t.Errorf("%s: no row_id", name)
		}
	}
	for name, b := range serverFrames() {
		var f struct {
			Action  string
			Options map[string]any
			Client  *member
			Payload json.RawMessage
		}
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.Action == "" || f.Action == "connection_status" {
			t.Errorf("%s: action %q", name, f.Action)
		}
		if f.Options == nil {
			t.Errorf("%s: options is not an object", name)
		}
		if f.Options["channel"] == nil && f.Action != "error" {
			t.Errorf("%s: no options.channel", name)
		}
		switch f.Action {
		case "join", "message":
			check(t, name, f.Client)
		case "presence_full":
			var p struct{ Presence []*member }
			if err := json.Unmarshal(f.Payload, &p); err != nil || p.Presence == nil {
				t.Errorf("%s: payload.presence is no list: %v", name, err)
			}
			for _, m := range p.Presence {
				check(t, name, m)
			}
		case "presence_update":
			var p struct{ Presence *member }
			if err := json.Unmarshal(f.Payload, &p); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			check(t, name, p.Presence)
		case "history":
			var p struct{ History []map[string]any }
			if err := json.Unmarshal(f.Payload, &p); err != nil || p.History == nil {
				t.Errorf("%s: payload.history is no list: %v", name, err)
			}
		case "error":
			var p struct{ Message, Code string }
			if err := json.Unmarshal(f.Payload, &p); err != nil || p.Message == "" || p.Code == "" {
				t.Errorf("%s: payload %s", name, f.Payload)
			}
		}
	}
}

func TestClientFrames(t *testing.T) {
	want := map[string]protocol.Request{
		"join":                  {Action: protocol.ActionJoin, Channel: "chat/1", Payload: []byte(`{"history":false,"presence":true}`)},
		"join-pattern":          {Action: protocol.ActionJoin, Channel: "chat/*", Payload: []byte(`{"history":true,"presence":true}`)},
		"join-resume":           {Action: protocol.ActionJoin, Channel: "chat/1", Payload: []byte(`{"history":false,"presence":false,"resume":{"offset":"42"}}`)},
		"join-resume-epoch":     {Action: protocol.ActionJoin, Channel: "chat/1", Payload: []byte(`{"history":false,"presence":false,"resume":{"offset":"42","epoch":"e7"}}`)},
		"leave":                 {Action: protocol.ActionLeave, Channel: "chat/1", Payload: []byte(`null`)},
		"message":               {Action: protocol.ActionMessage, Channel: "chat/1", Payload: []byte(`{"any":"json"}`)},
		"message-authenticated": {Action: protocol.ActionMessage, Channel: "chat/1", Authenticated: true, Payload: []byte(`"for members"`)},
		"message-private":       {Action: protocol.ActionMessage, Channel: "chat/1", Socket: "gate0001S1", Payload: []byte(`"psst"`)},
		"message-weweb":         {Action: protocol.ActionMessage, Channel: "chat/1", Payload: []byte(`[1,2]`)},
		"message-ref":           {Action: protocol.ActionMessage, Channel: "chat/1", Ref: "r1", Payload: []byte(`null`)},
		"message-spoof":         {Action: protocol.ActionMessage, Channel: "chat/1", Payload: []byte(`"I am somebody else"`)},
		"history":               {Action: protocol.ActionHistory, Channel: "chat/1", Payload: []byte(`null`)},
		"history-socket":        {Action: protocol.ActionHistory, Channel: "chat/1", Socket: "gate0001S1", Payload: []byte(`null`)},
		"history-page":          {Action: protocol.ActionHistory, Channel: "chat/1", Payload: []byte(`{"limit":50,"before":"42"}`)},
		"history-since":         {Action: protocol.ActionHistory, Channel: "chat/1", Payload: []byte(`{"since":"2026-01-02T03:04:05.678Z"}`)},
		"presence-update":       {Action: protocol.ActionPresenceUpdate, Channel: "chat/1", Payload: []byte(`{"data":{"cursor":[1,2],"typing":true}}`)},
	}
	files, err := filepath.Glob("testdata/frames/client-*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(want) {
		t.Errorf("%d files, %d expectations", len(files), len(want))
	}
	for _, path := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "client-"), ".json")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, failed := protocol.Decode(b, 128)
		if failed != nil {
			t.Errorf("%s: %v", name, failed)
		}
		w := want[name]
		if !bytes.Equal(got.Payload, w.Payload) {
			t.Errorf("%s: payload %s, want %s", name, got.Payload, w.Payload)
		}
		got.Payload, w.Payload = nil, nil
		if g, w := mustJSON(t, got), mustJSON(t, w); g != w {
			t.Errorf("%s: %s, want %s", name, g, w)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
