package protocol_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"fanfare/protocol"
)

const fuzzDepth = 20

// FuzzDecode compares Decode with encoding/json: it accepts exactly the JSON objects that are valid UTF-8 and
// within the depth, and sees the same fields, the last of duplicates winning and names in exact case.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/frames/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{
		`{"action":5,"action":"join","options":{"channel":7},"options":{"channel":"a","channel":"b"}}`,
		`{"Action":"join","options":{"Channel":"a"}}`,
		`{"\u0061ction":"jo\u0069n","options":{"channel":"\ud83d\ude00\ud800\u0000"}}`,
		`{"action":"message","payload":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`,
		`{"action":"message","payload":` + strings.Repeat(`{"a":[`, 9) + strings.Repeat(`]}`, 9) + `}`,
		`{"action":"message","options":{"channel":"c","ref":""}}`,
		"{\"action\":\"\xff\"}", `{"a":-0.5e+7,"b":[1,{},[],"x",true,false,null]}`, `{} {}`, `[{}]`, `{"a":01}`, `{"a":1.}`, `{"a":-}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, failed := protocol.Decode(b, fuzzDepth)
		object := utf8.Valid(b) && json.Valid(b) && bytes.TrimLeft(b, " \t\r\n")[0] == '{'
		deep := object && depth(b) > fuzzDepth
		switch {
		case !object && failed == nil:
			t.Fatalf("accepted what is no JSON object: %q", b)
		case deep && (failed == nil || failed.Code != protocol.CodeTooDeep):
			t.Fatalf("too deep, but %v", failed)
		case !object || deep:
			return
		}
		var top map[string]json.RawMessage
		if err := json.Unmarshal(b, &top); err != nil {
			t.Fatal(err)
		}
		var options map[string]json.RawMessage
		optionsOK := top["options"] == nil || json.Unmarshal(top["options"], &options) == nil
		channel, channelOK := name(options["channel"])
		socket, socketOK := name(options["socketId"])
		ref, refOK := name(options["ref"])
		if len(ref) > protocol.MaxRef {
			ref, refOK = "", false
		}
		refOK = refOK && string(options["ref"]) != `""`
		auth := string(options["authenticated"])
		authOK := auth == "" || auth == "null" || auth == "true" || auth == "false"
		action, actionOK := text(top["action"])
		actionOK = actionOK && action != ""
		known := map[string]bool{"join": true, "leave": true, "message": true, "history": true, "presence_update": true}[action]

		typesOK := optionsOK && channelOK && socketOK && refOK && authOK && actionOK
		switch {
		case typesOK && known != (failed == nil):
			t.Fatalf("action %q: %v", action, failed)
		case typesOK && !known && failed.Code != protocol.CodeUnknownAction:
			t.Fatalf("action %q: %v", action, failed)
		case !typesOK && (failed == nil || failed.Code != protocol.CodeInvalidMessage && failed.Code != protocol.CodeInvalidChannel):
			t.Fatalf("wrong types, but %v", failed)
		case failed != nil && !utf8.ValidString(failed.Message):
			t.Fatalf("message %q", failed.Message)
		}
		if r.Channel != channel || r.Socket != socket || r.Ref != ref || r.Authenticated != (auth == "true") {
			t.Fatalf("%+v; want %q %q %q %s", r, channel, socket, ref, auth)
		}
		if known && r.Action.String() != action {
			t.Fatalf("action %v, want %q", r.Action, action)
		}
		if !bytes.Equal(r.Payload, top["payload"]) {
			t.Fatalf("payload %q, want %q", r.Payload, top["payload"])
		}
	})
}

// wellPaired are JSON strings in which no escape is half a surrogate pair.
var wellPaired = regexp.MustCompile(`(?s)^(?:[^\\]|\\[^u]|\\u(?:[^dD]...|[dD][0-7]..)|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*$`)

// name is text that is what it says: half a pair reads as U+FFFD, as any other half does.
func name(raw json.RawMessage) (string, bool) {
	if raw != nil && !wellPaired.Match(raw) {
		return "", false
	}
	return text(raw)
}

// text reads a JSON string; absent and null are "".
func text(raw json.RawMessage) (string, bool) {
	if raw == nil {
		return "", true
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	if s == nil {
		return "", true
	}
	return *s, true
}

// depth counts the nested brackets of valid JSON.
func depth(b []byte) (deepest int) {
	open, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// FuzzPayloads: whatever the payload decoders are given, they answer; and they never accept what is no JSON.
func FuzzPayloads(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"history":true,"presence":null,"resume":{"offset":"1","epoch":"e"}}`, `{"resume":{"offset":1}}`,
		`{"limit":5,"before":"9"}`, `{"after":"0","since":"2026-01-02T03:04:05Z"}`, `{"since":1767323045678}`, `{"data":{"a":1}}`, `{"data":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		valid := len(b) == 0 || json.Valid(b)
		exact := map[string]json.RawMessage{}
		isObject := json.Unmarshal(b, &exact) == nil && exact != nil
		join, failed := protocol.DecodeJoin(b)
		if failed == nil {
			if !valid {
				t.Fatalf("DecodeJoin accepted %q", b)
			}
			if join.History != (string(exact["history"]) == "true") || join.Presence != (string(exact["presence"]) == "true") {
				t.Fatalf("%q: %+v", b, join)
			}
		}
		h, failed := protocol.DecodeHistory(b)
		if failed == nil {
			if !valid {
				t.Fatalf("DecodeHistory accepted %q", b)
			}
			if h.Limit < 0 || h.HasBefore && h.HasAfter || h.Before > 0 && !h.HasBefore || h.Paged && !isObject {
				t.Fatalf("%q: %+v", b, h)
			}
		}
		data, failed := protocol.DecodePresenceData(b, 64)
		if failed == nil {
			if !isObject {
				t.Fatalf("DecodePresenceData accepted %q", b)
			}
			if data != nil && (len(data) > 64 || !json.Valid(data) || !bytes.Equal(data, exact["data"])) {
				t.Fatalf("%q: %q", b, data)
			}
		}
	})
}

// FuzzEncode: every encoder gives one valid JSON object that decodes back to what went in.
func FuzzEncode(f *testing.F) {
	f.Add("chat/1", "S1", "r1", "hi", int64(17), "3", uint64(42), uint8(0))
	f.Add("chat/*", "gate0001\"x", "\\\x00", "\u2028<é😀", int64(-1), "uuid", uint64(0), uint8(1))
	f.Add("a\nb", "", "", "", int64(0), "", uint64(1<<63-1), uint8(3))
	f.Fuzz(func(t *testing.T, channel, session, ref, words string, dbo int64, row string, offset uint64, kind uint8) {
		for _, s := range []string{channel, session, ref, words, row} {
			if !utf8.ValidString(s) {
				return
			}
		}
		if channel == "" {
			return
		}
		c := protocol.Channel(channel)
		id := protocol.Identity{Authenticated: true, DboID: dbo, RowID: protocol.RowIDFromString(row), Extras: protocol.AppendString([]byte(`{"x":`), words)}
		id.Extras = append(id.Extras, '}')
		member := protocol.Member{Session: protocol.SessionID(session), Identity: &id}
		payload := protocol.AppendString(nil, words)
		audience := protocol.Audience{Kind: protocol.AudienceKind(kind % 4), Session: "to" + protocol.SessionID(session), DboID: dbo, RowID: id.RowID}

		m := protocol.Publication{Channel: c, Kind: protocol.KindMessage, Offset: offset}
		m.Frame, m.Splice = protocol.AppendMessage(nil, c, audience, ref, member, payload)
		e := protocol.Publication{Channel: c, Kind: protocol.KindEvent, Offset: offset}
		e.Frame, e.Splice = protocol.AppendEvent(nil, c, audience, ref, payload)
		pattern := protocol.Channel(words + "/*")

		client := map[string]any{"socketId": session, "extras": map[string]any{"x": words}, "permissions": map[string]any{"dbo_id": number(dbo), "row_id": anyOf(t, id.RowID.JSON())}}
		options := map[string]any{"channel": channel, "authenticated": kind%4 == 1, "socketId": nil, "id": ref}
		if kind%4 == 3 {
			options["socketId"] = "to" + session
		}
		message := map[string]any{"action": "message", "options": options, "client": client, "payload": words}
		same(t, m.Frame, message)
		event := map[string]any{"action": "event", "options": map[string]any{"channel": channel, "id": ref}, "client": nil, "payload": map[string]any{
			"data": words, "dbo_id": number(dbo), "row_id": anyOf(t, id.RowID.JSON()),
		}}
		same(t, e.Frame, event)

		// With the offset spliced in, and as a pattern's subscribers get it: equal to re-encoding.
		for _, p := range []struct {
			publication *protocol.Publication
			want        map[string]any
		}{{&m, message}, {&e, event}} {
			opts := p.want["options"].(map[string]any)
			if offset > 0 {
				opts["offset"] = anyOf(t, jsonUint(offset))
			}
			same(t, protocol.AppendPublication([]byte{}, p.publication), p.want)
			same(t, protocol.AppendHistory(nil, c+"x", []*protocol.Publication{p.publication}, protocol.HistoryHasMore), map[string]any{
				"action": "history", "options": map[string]any{"channel": channel + "x"}, "client": nil,
				"payload": map[string]any{"history": []any{p.want}, "more": true},
			})
			opts["channel"], opts["source"] = string(pattern), channel
			prefix := []byte("x")
			got := protocol.AppendForPattern(prefix, p.publication, pattern)
			if got[0] != 'x' {
				t.Fatal("did not append")
			}
			same(t, got[1:], p.want)
			if pattern.IsPattern() {
				same(t, protocol.AppendHistory(nil, pattern, []*protocol.Publication{p.publication, p.publication}, protocol.HistoryUnpaged), map[string]any{
					"action": "history", "options": map[string]any{"channel": string(pattern)}, "client": nil,
					"payload": map[string]any{"history": []any{p.want, p.want}},
				})
			}
		}

		joinOptions := map[string]any{"channel": channel, "epoch": words, "offset": anyOf(t, jsonUint(offset))}
		same(t, protocol.AppendJoin(nil, c, member, true, protocol.Position{Epoch: words, Offset: offset}, protocol.ResumedNot),
			map[string]any{"action": "join", "options": joinOptions, "client": client, "payload": map[string]any{"resumed": false}})
		ack := map[string]any{"id": words}
		if offset > 0 {
			ack["offset"] = anyOf(t, jsonUint(offset))
		}
		same(t, protocol.AppendAck(nil, c, ref, words, offset), map[string]any{"action": "ack", "options": map[string]any{"channel": channel, "ref": ref}, "payload": ack})
		errorOptions := map[string]any{"channel": channel}
		if ref != "" {
			errorOptions["ref"] = ref
		}
		same(t, protocol.AppendError(nil, c, ref, &protocol.Error{Code: protocol.Code(session), Message: words, RetryAfter: 3}), map[string]any{
			"action": "error", "options": errorOptions, "client": nil, "payload": map[string]any{"message": words, "code": session, "retry_after": number(3)},
		})
		delete(errorOptions, "channel")
		same(t, protocol.AppendError(nil, "", ref, &protocol.Error{Code: "x", Message: words}), map[string]any{
			"action": "error", "options": errorOptions, "client": nil, "payload": map[string]any{"message": words, "code": "x"},
		})
		member.Data = json.RawMessage(`{"data":1}`)
		client["data"], client["source"] = map[string]any{"data": number(1)}, channel
		same(t, protocol.AppendPresenceUpdate(nil, pattern, c, protocol.PresenceUpdate, protocol.AppendMember(nil, member, c)), map[string]any{
			"action": "presence_update", "options": map[string]any{"channel": string(pattern), "source": channel}, "client": nil,
			"payload": map[string]any{"action": "update", "presence": client},
		})
	})
}

func jsonUint(n uint64) string {
	b, _ := json.Marshal(n) // cannot fail
	return `"` + string(b) + `"`
}

func number(n int64) json.Number {
	b, _ := json.Marshal(n) // cannot fail
	return json.Number(b)
}

func anyOf(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func same(t *testing.T, frame []byte, want map[string]any) {
	t.Helper()
	if !json.Valid(frame) || !utf8.Valid(frame) {
		t.Fatalf("not valid: %q", frame)
	}
	if got := anyOf(t, string(frame)); !reflect.DeepEqual(got, any(want)) {
		t.Fatalf("%s\n got %v\nwant %v", frame, got, want)
	}
	r, failed := protocol.Decode(frame, 64)
	if failed != nil && failed.Code != protocol.CodeUnknownAction && failed.Code != protocol.CodeInvalidMessage {
		t.Fatal(failed)
	}
	if c, _ := want["options"].(map[string]any)["channel"].(string); r.Channel != c {
		t.Fatalf("decoded channel %q, want %q", r.Channel, c)
	}
}
