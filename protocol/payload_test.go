package protocol_test

import (
	"strings"
	"testing"
	"time"

	"fanfare/protocol"
)

func TestDecodeJoin(t *testing.T) {
	tests := []struct {
		in   string
		want protocol.Join
		bad  string // part of the error
	}{
		{in: ``},
		{in: `null`},
		{in: `{}`},
		{in: `{"history":true,"presence":false}`, want: protocol.Join{History: true}},
		{in: `{"history":null,"presence":true,"other":[1]}`, want: protocol.Join{Presence: true}},
		{in: `{"History":true,"history":true,"history":false}`},
		{in: `{"resume":null}`},
		{in: `{"resume":{"offset":"42"}}`, want: protocol.Join{Resume: true, From: protocol.Position{Offset: 42}}},
		{in: `{"resume":{"offset":42,"epoch":"e"}}`, want: protocol.Join{Resume: true, EpochGiven: true, From: protocol.Position{Epoch: "e", Offset: 42}}},
		{in: `{"resume":{"offset":"0","epoch":""}}`, want: protocol.Join{Resume: true, EpochGiven: true}},
		{in: `{"resume":{"offset":"9223372036854775807"}}`, want: protocol.Join{Resume: true, From: protocol.Position{Offset: 1<<63 - 1}}},
		{in: `{"resume":{"offset":"9223372036854775808"}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{"offset":"-1"}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{"offset":"1.5"}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{"offset":""}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{"offset":null}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{"offset":{}}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{}}`, bad: "payload.resume.offset"},
		{in: `{"resume":{"offset":"1","epoch":5}}`, bad: "payload.resume.epoch"},
		{in: `{"resume":"42"}`, bad: "payload.resume has a wrong type"},
		{in: `{"resume":[]}`, bad: "payload.resume has a wrong type"},
		{in: `{"history":1}`, bad: "payload.history"},
		{in: `{"presence":"true"}`, bad: "payload.presence"},
		{in: `[]`, bad: "payload has a wrong type"},
		{in: `"x"`, bad: "payload has a wrong type"},
		{in: `{"history":true`, bad: "payload is not valid JSON"},
		{in: `{"history":true}x`, bad: "payload is not valid JSON"},
	}
	for _, tt := range tests {
		got, failed := protocol.DecodeJoin([]byte(tt.in))
		if !judged(t, tt.in, failed, tt.bad) {
			continue
		}
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

// judged tells whether in was accepted, as it should be when bad is empty.
func judged(t *testing.T, in string, failed *protocol.Error, bad string) bool {
	t.Helper()
	switch {
	case bad == "" && failed != nil:
		t.Errorf("%s: %v", in, failed)
	case bad != "" && failed == nil:
		t.Errorf("%s: accepted", in)
	case bad != "" && (failed.Code != protocol.CodeInvalidMessage && failed.Code != protocol.CodeTooLarge || !strings.Contains(failed.Detail, bad)):
		t.Errorf("%s: %v, want %q", in, failed, bad)
	}
	return failed == nil && bad == ""
}

func TestDecodeHistory(t *testing.T) {
	moment := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	tests := []struct {
		in   string
		want protocol.HistoryRequest
		bad  string
	}{
		{in: ``},
		{in: `null`},
		{in: `{}`},
		{in: `{"limit":null,"before":null,"after":null,"since":null}`},
		{in: `{"Limit":5}`},
		{in: `{"limit":5}`, want: protocol.HistoryRequest{Paged: true, Limit: 5}},
		{in: `{"before":"7"}`, want: protocol.HistoryRequest{Paged: true, HasBefore: true, Before: 7}},
		{in: `{"before":"0"}`, want: protocol.HistoryRequest{Paged: true, HasBefore: true}},
		{in: `{"after":"0","limit":1000000}`, want: protocol.HistoryRequest{Paged: true, HasAfter: true, Limit: 1000000}},
		{in: `{"after":9}`, want: protocol.HistoryRequest{Paged: true, HasAfter: true, After: 9}},
		{in: `{"since":"2026-01-02T03:04:05.678Z"}`, want: protocol.HistoryRequest{Paged: true, Since: moment}},
		{in: `{"since":"2026-01-02T04:04:05.678+01:00"}`, want: protocol.HistoryRequest{Paged: true, Since: moment}},
		{in: `{"since":1767323045678}`, want: protocol.HistoryRequest{Paged: true, Since: moment}},
		{in: `{"since":"1767323045678","after":"3"}`, want: protocol.HistoryRequest{Paged: true, Since: moment, HasAfter: true, After: 3}},
		{in: `{"limit":0}`, bad: "payload.limit"},
		{in: `{"limit":-5}`, bad: "payload.limit"},
		{in: `{"limit":1.5}`, bad: "payload.limit"},
		{in: `{"limit":"5"}`, bad: "payload.limit"},
		{in: `{"limit":99999999999999999999}`, bad: "payload.limit"},
		{in: `{"before":"x"}`, bad: "payload.before"},
		{in: `{"after":-1}`, bad: "payload.after"},
		{in: `{"after":true}`, bad: "payload.after"},
		{in: `{"since":"yesterday"}`, bad: "payload.since"},
		{in: `{"since":-1}`, bad: "payload.since"},
		{in: `{"since":9007199254740993}`, bad: "payload.since"},
		{in: `{"since":[]}`, bad: "payload.since"},
		{in: `{"before":"7","after":"3"}`, bad: "payload.before"},
		{in: `{"before":"7","since":1}`, bad: "payload.before"},
		{in: `[5]`, bad: "payload has a wrong type"},
		{in: `5`, bad: "payload has a wrong type"},
	}
	for _, tt := range tests {
		got, failed := protocol.DecodeHistory([]byte(tt.in))
		if !judged(t, tt.in, failed, tt.bad) {
			continue
		}
		if !got.Since.Equal(tt.want.Since) {
			t.Errorf("%s: since %v, want %v", tt.in, got.Since, tt.want.Since)
		}
		got.Since, tt.want.Since = time.Time{}, time.Time{}
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestDecodePresenceData(t *testing.T) {
	tests := []struct{ in, want, bad string }{
		{in: `{"data":{}}`, want: `{}`},
		{in: `{"data":{"a": 1}}`, want: `{"a": 1}`},
		{in: `{"data":1,"data":{"b":2}}`, want: `{"b":2}`},
		{in: `{"data":null}`},
		{in: `{"data":{"x":"0123456789"}}`, want: `{"x":"0123456789"}`},
		{in: `{"data":{"x":"01234567890"}}`, bad: "larger than 18 bytes"},
		{in: ``, bad: "must be an object with data"},
		{in: `null`, bad: "must be an object with data"},
		{in: `[]`, bad: "must be an object with data"},
		{in: `{}`, bad: "payload.data must be an object"},
		{in: `{"Data":{}}`, bad: "payload.data must be an object"},
		{in: `{"data":[]}`, bad: "payload.data must be an object"},
		{in: `{"data":"x"}`, bad: "payload.data must be an object"},
		{in: `{"data":{}`, bad: "not valid JSON"},
	}
	for _, tt := range tests {
		got, failed := protocol.DecodePresenceData([]byte(tt.in), 18)
		if judged(t, tt.in, failed, tt.bad) && string(got) != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}
