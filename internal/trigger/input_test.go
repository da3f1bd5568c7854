package trigger_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"fanfare/internal/policy"
	"fanfare/internal/trigger"
	"fanfare/protocol"
)

func TestBody(t *testing.T) {
	t.Parallel()
	user := protocol.Identity{Authenticated: true, DboID: 17, RowID: protocol.RowIDFromInt(3), Extras: json.RawMessage(`{"name":"Jo"}`)}
	uuid := protocol.Identity{Authenticated: true, RowID: protocol.RowIDFromString("9f0c")}
	cases := map[string]struct {
		action trigger.Action
		in     trigger.Input
		want   string
	}{
		"join, anonymous": {
			trigger.Join,
			trigger.Input{Channel: "chat/1", Session: "S1", Payload: json.RawMessage(`{"history":false,"presence":true}`)},
			`{"action":"join","channel":"chat/1","client":{"extras":{},"permissions":{"dbo_id":0,"row_id":"0"},"socketId":"S1"},` +
				`"options":{"authenticated":false,"channel":"chat/1"},"payload":{"history":false,"presence":true}}`,
		},
		"message of a user": {
			trigger.Message,
			trigger.Input{Channel: "chat/1", Session: "S1", Identity: user, Authenticated: true, Payload: json.RawMessage(`"<hi> & ü"`)},
			`{"action":"message","channel":"chat/1","client":{"extras":{"name":"Jo"},"permissions":{"dbo_id":17,"row_id":"3"},"socketId":"S1"},` +
				`"options":{"authenticated":true,"channel":"chat/1"},"payload":"<hi> & ü"}`,
		},
		"private, UUID, no payload": {
			trigger.Message,
			trigger.Input{Channel: `a"b`, Session: "S1", Identity: uuid, Recipient: "S2"},
			`{"action":"message","channel":"a\"b","client":{"extras":{},"permissions":{"dbo_id":0,"row_id":"9f0c"},"socketId":"S1"},` +
				`"options":{"authenticated":false,"channel":"a\"b","socketId":"S2"},"payload":null}`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got, kind string
			s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				got, kind = string(read(t, r)), r.Method+" "+r.Header.Get("Content-Type")
			})
			f := newCaller(t, trigger.Options{AllowPrivate: true})
			rule := []policy.Trigger{hook(s.URL)}
			if c.action == trigger.Join {
				if _, err := f.Join(t.Context(), rule, c.in); err != nil {
					t.Fatal(err)
				}
			} else if _, v, _ := f.Message(t.Context(), rule, c.in); v != trigger.Rejected {
				t.Fatalf("verdict %v", v) // the empty answer counts as null
			}
			if got != c.want {
				t.Errorf("body\n got %s\nwant %s", got, c.want)
			}
			if kind != "POST application/json" {
				t.Errorf("got %s", kind)
			}
		})
	}
}

func TestOrderOfTriggers(t *testing.T) {
	t.Parallel()
	var asked []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Payload string `json:"payload"`
		}
		if err := json.Unmarshal(read(t, r), &in); err != nil {
			t.Error(err)
		}
		asked = append(asked, r.URL.Path+"="+in.Payload)
		switch r.URL.Path {
		case "/fails":
			w.WriteHeader(http.StatusInternalServerError)
		case "/blocks":
			_, _ = w.Write([]byte("false"))
		default:
			_, _ = w.Write([]byte(`"` + in.Payload + `+"`))
		}
	})
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	first, fails, joinOnly, last := hook(s.URL+"/first"), hook(s.URL+"/fails"), hook(s.URL+"/join"), hook(s.URL+"/last")
	fails.OnFailure = policy.FailureAllow
	joinOnly.Actions.Message = false

	payload, v, err := f.Message(t.Context(), []policy.Trigger{first, fails, joinOnly, last}, input(`"x"`))
	if string(payload) != `"x++"` || v != trigger.Passed || err != nil {
		t.Errorf("got %s %v %v", payload, v, err)
	}
	if got := strings.Join(asked, " "); got != "/first=x /fails=x+ /last=x+" {
		t.Errorf("asked %s", got)
	}

	asked = nil
	payload, v, err = f.Message(t.Context(), []policy.Trigger{first, hook(s.URL + "/blocks"), last}, input(`"x"`))
	if payload != nil || v != trigger.Rejected || err == nil {
		t.Errorf("got %s %v %v", payload, v, err)
	}
	if got := strings.Join(asked, " "); got != "/first=x /blocks=x+" {
		t.Errorf("asked %s", got)
	}

	asked = nil
	if payload, v, err = f.Message(t.Context(), []policy.Trigger{joinOnly}, input(`"x"`)); string(payload) != `"x"` || v != trigger.Passed || err != nil || asked != nil {
		t.Errorf("got %s %v %v", payload, v, err)
	}
	if trigger.Wants([]policy.Trigger{joinOnly}, trigger.Message) || !trigger.Wants([]policy.Trigger{joinOnly}, trigger.Join) {
		t.Error("Wants is wrong")
	}
}
