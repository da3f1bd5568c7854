package protocol_test

import (
	"bytes"
	"strings"
	"testing"

	"fanfare/protocol"
)

func TestDecodeBadInput(t *testing.T) {
	deep := func(n int) string {
		return `{"action":"message","options":{"channel":"c","ref":"r"},"payload":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	const msg = protocol.CodeInvalidMessage
	tests := []struct {
		name, in string
		code     protocol.Code
		text     string // part of the message
		channel  string // what the answer can still name
		ref      string
	}{
		{name: "empty", in: ``, code: msg, text: "not a JSON object"},
		{name: "spaces", in: " \n", code: msg, text: "not a JSON object"},
		{name: "null", in: `null`, code: msg, text: "not a JSON object"},
		{name: "array of frames", in: `[{"action":"message"}]`, code: msg, text: "not a JSON object"},
		{name: "string", in: `"message"`, code: msg, text: "not a JSON object"},
		{name: "number", in: `1`, code: msg, text: "not a JSON object"},
		{name: "byte order mark", in: "\ufeff{}", code: msg, text: "not a JSON object"},
		{name: "two frames", in: `{"action":"leave","options":{"channel":"c"}}{"action":"leave"}`, code: msg, text: "not valid JSON", channel: "c"},
		{name: "cut", in: `{"action":"message","options":{"channel":"c","ref":"r"},"payl`, code: msg, text: "not valid JSON", channel: "c", ref: "r"},
		{name: "cut in options", in: `{"action":"message","options":{"channel":"c","ref":`, code: msg, text: "not valid JSON", channel: "c"},
		{name: "trailing comma", in: `{"action":"leave",}`, code: msg, text: "not valid JSON"},
		{name: "single quotes", in: `{'action':'leave'}`, code: msg, text: "not valid JSON"},
		{name: "comment", in: `{"action":"leave"/**/}`, code: msg, text: "not valid JSON"},
		{name: "leading zero", in: `{"action":"message","payload":01}`, code: msg, text: "not valid JSON"},
		{name: "NaN", in: `{"action":"message","payload":NaN}`, code: msg, text: "not valid JSON"},
		{name: "raw newline in string", in: "{\"action\":\"mess\nage\"}", code: msg, text: "not valid JSON"},
		{name: "bad escape", in: `{"action":"mess\xage"}`, code: msg, text: "not valid JSON"},
		{name: "short unicode escape", in: `{"action":"\u12"}`, code: msg, text: "not valid JSON"},
		{name: "invalid UTF-8", in: "{\"action\":\"message\",\"payload\":\"\xff\"}", code: msg, text: "UTF-8"},
		{name: "UTF-8 surrogate", in: "{\"action\":\"message\",\"payload\":\"\xed\xa0\x80\"}", code: msg, text: "UTF-8"},
		{name: "binary", in: "\x00\x01\x02", code: msg, text: "not a JSON object"},
		{name: "no action", in: `{"options":{"channel":"c"}}`, code: msg, text: "action is missing", channel: "c"},
		{name: "empty action", in: `{"action":"","options":{"channel":"c"}}`, code: msg, text: "action is missing", channel: "c"},
		{name: "action number", in: `{"action":5}`, code: msg, text: "action must be a string"},
		{name: "action null", in: `{"action":null}`, code: msg, text: "action must be a string"},
		{name: "action in other case", in: `{"Action":"message"}`, code: msg, text: "action is missing"},
		{name: "unknown action", in: `{"action":"dance","options":{"channel":"c","ref":"r"}}`, code: protocol.CodeUnknownAction, text: "unknown action", channel: "c", ref: "r"},
		{name: "server's action", in: `{"action":"event","options":{"channel":"c"}}`, code: protocol.CodeUnknownAction, text: "unknown action", channel: "c"},
		{name: "action in upper case", in: `{"action":"JOIN"}`, code: protocol.CodeUnknownAction, text: "unknown action"},
		{name: "options array", in: `{"action":"join","options":[]}`, code: msg, text: "options must be an object"},
		{name: "options string", in: `{"action":"join","options":"c"}`, code: msg, text: "options must be an object"},
		{name: "channel number", in: `{"action":"join","options":{"channel":7,"ref":"r"}}`, code: protocol.CodeInvalidChannel, text: "options.channel must be a string", ref: "r"},
		{name: "channel object", in: `{"action":"join","options":{"channel":{}}}`, code: protocol.CodeInvalidChannel, text: "options.channel must be a string"},
		{name: "channel of a lone surrogate", in: `{"action":"join","options":{"channel":"room\ud800","ref":"r"}}`, code: protocol.CodeInvalidChannel, text: "options.channel", ref: "r"},
		{name: "channel of two high surrogates", in: `{"action":"join","options":{"channel":"\ud83d\ud83d\ude00"}}`, code: protocol.CodeInvalidChannel, text: "options.channel"},
		{name: "channel of a pair the wrong way round", in: `{"action":"join","options":{"channel":"\ude00\ud83d"}}`, code: protocol.CodeInvalidChannel, text: "options.channel"},
		{name: "channel of a surrogate and another escape", in: `{"action":"join","options":{"channel":"\ud83d\n12345"}}`, code: protocol.CodeInvalidChannel, text: "options.channel"},
		{name: "ref of a lone surrogate", in: `{"action":"message","options":{"channel":"c","ref":"\uDFFF"}}`, code: msg, text: "options.ref", channel: "c"},
		{name: "key of a lone surrogate", in: `{"action":"message","options":{"channel":"c","key":"\uD800x"}}`, code: msg, text: "options.key", channel: "c"},
		{name: "socketId of a lone surrogate", in: `{"action":"message","options":{"channel":"c","socketId":"\uDBFF"}}`, code: msg, text: "options.socketId", channel: "c"},
		{name: "authenticated string", in: `{"action":"message","options":{"channel":"c","authenticated":"true"}}`, code: msg, text: "options.authenticated", channel: "c"},
		{name: "authenticated number", in: `{"action":"message","options":{"channel":"c","authenticated":1}}`, code: msg, text: "options.authenticated", channel: "c"},
		{name: "socketId number", in: `{"action":"message","options":{"channel":"c","socketId":5}}`, code: msg, text: "options.socketId", channel: "c"},
		{name: "socketId list", in: `{"action":"message","options":{"channel":"c","socketId":["a"]}}`, code: msg, text: "options.socketId", channel: "c"},
		{name: "socketId false", in: `{"action":"message","options":{"channel":"c","socketId":false}}`, code: msg, text: "options.socketId", channel: "c"},
		{name: "ref number", in: `{"action":"message","options":{"channel":"c","ref":5}}`, code: msg, text: "options.ref must", channel: "c"},
		{name: "ref empty", in: `{"action":"message","options":{"channel":"c","ref":""}}`, code: msg, text: "options.ref must not be empty", channel: "c"},
		{name: "ref long", in: `{"action":"message","options":{"channel":"c","ref":"` + strings.Repeat("x", 65) + `"}}`, code: msg, text: "options.ref is longer", channel: "c"},
		{name: "ref long in escapes", in: `{"action":"message","options":{"channel":"c","ref":"` + strings.Repeat(`é`, 33) + `"}}`, code: msg, text: "options.ref is longer", channel: "c"},
		{name: "two wrongs", in: `{"action":5,"options":{"channel":"c","ref":"r","socketId":1}}`, code: msg, text: "action must be", channel: "c", ref: "r"},
		{name: "5000 deep", in: deep(5000), code: protocol.CodeTooDeep, text: "deeper than 128", channel: "c", ref: "r"},
		{name: "128 deep in all", in: deep(128), code: protocol.CodeTooDeep, text: "deeper than 128", channel: "c", ref: "r"},
		{name: "5000 deep in options", in: `{"action":"message","options":{"channel":"c","x":` + strings.Repeat(`{"x":`, 5000), code: protocol.CodeTooDeep, text: "deeper", channel: "c"},
		{name: "5000 deep in an unknown member", in: `{"x":` + strings.Repeat(`[`, 5000), code: protocol.CodeTooDeep, text: "deeper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, failed := protocol.Decode([]byte(tt.in), 128)
			if failed == nil {
				t.Fatalf("accepted: %+v", r)
			}
			if failed.Code != tt.code || !strings.Contains(failed.Detail, tt.text) {
				t.Errorf("error %v, want %s with %q", failed, tt.code, tt.text)
			}
			if r.Channel != tt.channel || r.Ref != tt.ref {
				t.Errorf("channel %q, ref %q; want %q, %q", r.Channel, r.Ref, tt.channel, tt.ref)
			}
			if strings.Contains(failed.Detail, "\n") || len(failed.Detail) > 200 {
				t.Errorf("message %q", failed.Detail)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name, in string
		want     protocol.Request
	}{
		{"order of members", `{"payload":1,"options":{"channel":"c"},"action":"message"}`, protocol.Request{Action: protocol.ActionMessage, Channel: "c", Payload: []byte("1")}},
		{"no options", `{"action":"join"}`, protocol.Request{Action: protocol.ActionJoin}},
		{"null options", `{"action":"join","options":null,"payload":null}`, protocol.Request{Action: protocol.ActionJoin, Payload: []byte("null")}},
		{"null fields", `{"action":"message","options":{"channel":null,"authenticated":null,"socketId":null,"ref":null}}`, protocol.Request{Action: protocol.ActionMessage}},
		{"empty socketId", `{"action":"message","options":{"channel":"c","socketId":""}}`, protocol.Request{Action: protocol.ActionMessage, Channel: "c"}},
		{"spaces", " {\t\"action\" :\r\n \"leave\" , \"options\" : { \"channel\" : \"c\" } } ", protocol.Request{Action: protocol.ActionLeave, Channel: "c"}},
		{"escapes", `{"\u0061ction":"jo\u0069n","options":{"channel":"a\/\u00e9\ud83d\ude00\"\\"}}`, protocol.Request{Action: protocol.ActionJoin, Channel: "a/é😀\"\\"}},
		{"escaped pair in capitals", `{"action":"join","options":{"channel":"\\ud800\uD83D\uDE00\ufffd"}}`, protocol.Request{Action: protocol.ActionJoin, Channel: `\ud800` + "😀\ufffd"}},
		{"payload as it came", `{"action":"message","payload": { "n" : 1.50e3, "s":"\u00e9" } }`, protocol.Request{Action: protocol.ActionMessage, Payload: []byte(`{ "n" : 1.50e3, "s":"\u00e9" }`)}},
		{"last wins", `{"action":5,"action":"join","options":{"channel":7,"ref":"a"},"options":{"channel":"a","channel":"b"},"payload":1,"payload":2}`, protocol.Request{Action: protocol.ActionJoin, Channel: "b", Payload: []byte("2")}},
		{"last wins over wrong options", `{"action":"join","options":[],"options":{"channel":"b"}}`, protocol.Request{Action: protocol.ActionJoin, Channel: "b"}},
		{"exact case", `{"action":"join","Action":"leave","options":{"channel":"a","Channel":"b"},"OPTIONS":5}`, protocol.Request{Action: protocol.ActionJoin, Channel: "a"}},
		{"unknown members", `{"action":"join","client":{"socketId":"x"},"command":[1],"options":{"channel":"a","offset":"9","extra":{}}}`, protocol.Request{Action: protocol.ActionJoin, Channel: "a"}},
		{"longest ref", `{"action":"message","options":{"ref":"` + strings.Repeat("x", 64) + `"}}`, protocol.Request{Action: protocol.ActionMessage, Ref: strings.Repeat("x", 64)}},
		{"127 deep payload", `{"action":"message","payload":` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `}`, protocol.Request{Action: protocol.ActionMessage, Payload: []byte(strings.Repeat("[", 127) + strings.Repeat("]", 127))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, failed := protocol.Decode([]byte(tt.in), 128)
			if failed != nil {
				t.Fatal(failed)
			}
			if !bytes.Equal(got.Payload, tt.want.Payload) {
				t.Errorf("payload %s, want %s", got.Payload, tt.want.Payload)
			}
			got.Payload, tt.want.Payload = nil, nil
			if g, w := mustJSON(t, got), mustJSON(t, tt.want); g != w {
				t.Errorf("%s, want %s", g, w)
			}
		})
	}
}

// TestDecodeKeepsNothing: readers reuse their buffer.
func TestDecodeKeepsNothing(t *testing.T) {
	b := []byte(`{"action":"message","options":{"channel":"room1","socketId":"sock","ref":"ref1"},"payload":1}`)
	r, failed := protocol.Decode(b, 128)
	if failed != nil {
		t.Fatal(failed)
	}
	for i := range b {
		b[i] = 'x'
	}
	if r.Channel != "room1" || r.Socket != "sock" || r.Ref != "ref1" {
		t.Errorf("%+v", r)
	}
	p := []byte(`{"data":{"a":1}}`)
	data, failed := protocol.DecodePresenceData(p, 100)
	if failed != nil {
		t.Fatal(failed)
	}
	clear(p)
	if string(data) != `{"a":1}` {
		t.Errorf("data %q", data)
	}
}

func TestDecodeOverDepthOf256(t *testing.T) {
	in := `{"action":"message","payload":` + strings.Repeat(`{"a":[`, 400) + strings.Repeat(`]}`, 400) + `}`
	if _, failed := protocol.Decode([]byte(in), 801); failed != nil {
		t.Error(failed)
	}
	if _, failed := protocol.Decode([]byte(in), 800); failed == nil || failed.Code != protocol.CodeTooDeep {
		t.Error(failed)
	}
	if _, failed := protocol.Decode([]byte(strings.Replace(in, `]}`, `}]`, 1)), 1000); failed == nil || failed.Code != protocol.CodeInvalidMessage {
		t.Error(failed)
	}
}
