package trigger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"fanfare/internal/policy"
	"fanfare/internal/trigger"
	"fanfare/protocol"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 120) + strings.Repeat("]", 120)
	cases := map[string]struct {
		status        int
		body          string
		join, message string // outcome; of a message that passes: the payload behind a space
	}{
		"false":            {200, `false`, "rejected", "rejected"},
		"false with space": {200, " false\n", "rejected", "rejected"},
		"null":             {200, `null`, "ok", "rejected"},
		"empty":            {200, ``, "ok", "rejected"},
		"white space":      {200, "\r\n ", "ok", "rejected"},
		"no content":       {204, ``, "ok", "rejected"},
		"true":             {200, `true`, "ok", "ok true"},
		"empty object":     {200, `{}`, "ok", "ok {}"},
		"empty text":       {200, `""`, "ok", `ok ""`},
		"zero":             {200, `0`, "ok", `ok 0`},
		"text false":       {200, `"false"`, "ok", `ok "false"`},
		"list":             {201, `[ 1, {"a" : null} ]`, "ok", `ok [1,{"a":null}]`},
		"big number":       {200, `12345678901234567890.10`, "ok", `ok 12345678901234567890.10`},
		"utf-8":            {200, `"ü€😀"`, "ok", `ok "ü€😀"`},
		"brackets in text": {200, `"` + strings.Repeat("[", 500) + `\""`, "ok", `ok "` + strings.Repeat("[", 500) + `\""`},
		"deep":             {200, deep, "ok", "ok " + deep},
		"too deep":         {200, "[" + deep + "]", "bad_answer", "bad_answer"},
		"5000 deep":        {200, strings.Repeat(`{"a":`, 5000), "bad_answer", "bad_answer"},
		"html":             {200, `<html>`, "bad_answer", "bad_answer"},
		"half":             {200, `{"a":`, "bad_answer", "bad_answer"},
		"two values":       {200, `true false`, "bad_answer", "bad_answer"},
		"False":            {200, `False`, "bad_answer", "bad_answer"},
		"byte order mark":  {200, "\ufefftrue", "bad_answer", "bad_answer"},
		"not utf-8":        {200, "\"\xff\"", "bad_answer", "bad_answer"},
		"300":              {300, `true`, "redirect", "redirect"},
		"304":              {304, ``, "redirect", "redirect"},
		"400":              {400, `false`, "status", "status"},
		"401":              {401, ``, "status", "status"},
		"404":              {404, `null`, "status", "status"},
		"429":              {429, ``, "status", "status"},
		"500":              {500, `true`, "status", "status"},
		"503":              {503, strings.Repeat("x", 1<<20), "status", "status"},
		"256 KiB":          {200, `"` + strings.Repeat("x", 256<<10-2) + `"`, "ok", `ok "` + strings.Repeat("x", 256<<10-2) + `"`},
		"a byte more":      {200, `"` + strings.Repeat("x", 256<<10-1) + `"`, "too_large", "too_large"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			})
			for action, want := range map[trigger.Action]string{trigger.Join: c.join, trigger.Message: c.message} {
				check(t, s.URL, action, want)
			}
		})
	}
}

// check asks one endpoint under both policies and compares verdict, error, payload and metric.
func check(t *testing.T, url string, action trigger.Action, want string) {
	t.Helper()
	outcome, replaced, _ := strings.Cut(want, " ")
	for _, policyOnFailure := range []policy.OnFailure{policy.FailureBlock, policy.FailureAllow} {
		f := newCaller(t, trigger.Options{AllowPrivate: true})
		h := hook(url)
		h.OnFailure = policyOnFailure
		h.TimeoutMS = 10_000
		if outcome == "timeout" {
			h.TimeoutMS = 300
		}
		payload, verdict, err := ask(t, f, action, h)

		wantVerdict, wantCode, wantPayload := trigger.Passed, protocol.Code(""), ""
		switch {
		case outcome == "ok":
			wantPayload = replaced
		case outcome == "rejected" && action == trigger.Join:
			wantVerdict, wantCode = trigger.Rejected, protocol.CodeJoinRejected
		case outcome == "rejected":
			wantVerdict, wantCode = trigger.Rejected, protocol.CodeMessageRejected
		case policyOnFailure == policy.FailureBlock:
			wantVerdict, wantCode = trigger.Failed, protocol.CodeTriggerFailed
		default:
			wantPayload = `"original"`
		}
		if action == trigger.Join {
			wantPayload = ""
		}
		if verdict != wantVerdict || payload != wantPayload || (err == nil) != (wantCode == "") {
			t.Errorf("%s, %s: got %.80q %v %v, want %.80q %v", action, policyOnFailure, payload, verdict, err, wantPayload, wantVerdict)
		}
		if wire := (*protocol.Error)(nil); err != nil && (!errors.As(err, &wire) || wire.Code != wantCode) {
			t.Errorf("%s, %s: error %v, want %s", action, policyOnFailure, err, wantCode)
		}
		if n := f.counter(t, string(action), outcome); n != 1 {
			t.Errorf("%s, %s: outcome %s counted %v times", action, policyOnFailure, outcome, n)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `null`, `false`, `true`, `{}`, `[[[]]]`, `"a\"[b"`, `{"a":[1,2,{"b":null}]}`, "\xff", `"`, `{"a":`, "\ufeff1", `1e999`, "\"\\ud800\"",
	} {
		f.Add(200, []byte(seed))
	}
	f.Add(302, []byte(`true`))
	f.Add(500, []byte(`true`))
	c, err := trigger.New(trigger.Options{Limits: trigger.Limits{BreakerFailures: 1 << 30, AnswerBytes: 4096}})
	if err != nil {
		f.Fatal(err)
	}
	var status int
	var answer []byte
	c.SetTransport(roundTrip(func(*http.Request) (*http.Response, error) { return response(status, string(answer)), nil }))
	rule := []policy.Trigger{hook("https://example.com/")}
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		status, answer = code, body
		payload, verdict, err := c.Message(t.Context(), rule, input(`"original"`))
		joined, joinErr := c.Join(t.Context(), rule, input(`null`))
		if (verdict == trigger.Passed) != (err == nil) || (joined == trigger.Passed) != (joinErr == nil) {
			t.Fatalf("verdicts %v %v, errors %v %v", verdict, joined, err, joinErr)
		}
		if (verdict == trigger.Failed) != (joined == trigger.Failed) {
			t.Fatalf("a failure for one only: %v %v", verdict, joined)
		}
		if verdict != trigger.Passed {
			if payload != nil {
				t.Fatalf("payload %s of a refusal", payload)
			}
			return
		}
		if code < 200 || code > 299 || len(payload) > 4096 || !utf8.Valid(payload) || !json.Valid(payload) {
			t.Fatalf("passed %d %q", code, payload)
		}
		if bytes.Equal(payload, []byte("null")) || bytes.Equal(payload, []byte("false")) {
			t.Fatalf("passed %s", payload)
		}
	})
}
