package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// unmet is how long something is waited for that a missing permission keeps from coming.
const unmet = 3 * time.Second

// pair is a gateway that lacks something, and one that has all.
type pair struct {
	t         *testing.T
	a, b      *Node
	lacking   bool // a does lack something
	hook      string
	admin     *nats.Conn
	delivered chan string
}

// necessary is what each permission of deploy/nats/gateway.conf is for, as the table of nats-permissions.md has it. what
// fails without it; nil = the gateway does not start.
var necessary = []struct {
	name               string
	publish, subscribe []string // prefixes of the subjects
	what               func(ctx context.Context, p *pair) error
}{
	{"messages to be stored", []string{"fanfare.h."}, nil, stores},
	{"live messages out", []string{"fanfare.o."}, nil, sends},
	{"live messages in", nil, []string{"fanfare.o."}, receives},
	{"changes of presence", nil, []string{"fanfare.p."}, sees},
	{"requests of gateways out", []string{"fanfare.gw."}, nil, whispers},
	{"requests of gateways in", nil, []string{"fanfare.gw."}, nil},
	{"answers out", []string{"_INBOX_fanfare."}, nil, hears},
	{"answers in", nil, []string{"_INBOX_fanfare."}, nil},
	{"presence entries", []string{"$KV.fanfare_presence_"}, nil, isSeen},
	{"leases", []string{"$KV.fanfare_gateways."}, nil, nil},
	{"epochs", []string{"$KV.fanfare_meta."}, nil, nil},
	{"settings", []string{"$KV.fanfare_settings."}, nil, changesRule},
	{"streams", []string{"$JS.API.STREAM.INFO."}, nil, nil},
	{"reading at the leader", []string{"$JS.API.STREAM.MSG.GET."}, nil, refused},
	{"reading", []string{"$JS.API.DIRECT.GET."}, nil, nil},
	{"trimming history", []string{"$JS.API.STREAM.PURGE.FANFARE_HISTORY_"}, nil, purges},
	{"removing entries", []string{"$JS.API.STREAM.PURGE.KV_fanfare_presence_"}, nil, fenced},
	{"following the settings", []string{"$JS.API.CONSUMER.CREATE.KV_fanfare_settings."}, nil, nil},
	{"elections", nil, []string{"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."}, nil},
	{"lifecycle events", []string{"fanfare.l."}, nil, records},
	{"news of lifecycle events", nil, []string{"fanfare.ln."}, refused},
	{"where webhooks stand", []string{"$KV.fanfare_lifecycle_cursors."}, nil, delivers},
}

// unseen are those that a gateway asks for in its own time only: to end a consumer that it follows no more, to look at
// one that is silent, and when the broker wants to know how far it has come.
var unseen = []string{
	"$JS.API.CONSUMER.DELETE.KV_fanfare_settings.>", "$JS.API.CONSUMER.INFO.KV_fanfare_settings.>", "$JS.FC.KV_fanfare_settings.>",
}

// TestPermissionsNecessary takes one permission at a time from a gateway and sees fail what it is for.
func TestPermissionsNecessary(t *testing.T) {
	s := &secured{dir: t.TempDir()}
	s.ca, s.cert, s.key = certificates(t, s.dir)
	t.Setenv("FANFARE_GATEWAY_NKEY", must(must(nkeys.CreateUser()).PublicKey()))
	t.Setenv("FANFARE_SETUP_NKEY", must(must(nkeys.CreateUser()).PublicKey()))
	plain, err := server.ProcessConfigFile(gatewayConf)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*server.Permissions{}
	for _, u := range plain.Nkeys {
		all[u.Nkey] = u.Permissions
	}
	gateway := all[os.Getenv("FANFARE_GATEWAY_NKEY")]
	covered := map[string]bool{}
	without := func(from, prefixes []string) []string {
		return slices.DeleteFunc(slices.Clone(from), func(subject string) bool {
			gone := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(subject, p) })
			covered[subject] = covered[subject] || gone
			return gone
		})
	}
	user := func(name string, publish, subscribe []string) string {
		return fmt.Sprintf("{user: %q, password: secret, permissions: {publish: {allow: %s}, subscribe: {allow: %s}}}\n", name, quoted(publish), quoted(subscribe))
	}
	users := user("all", gateway.Publish.Allow, gateway.Subscribe.Allow) + `{user: admin, password: secret}` + "\n"
	for _, test := range necessary {
		publish, subscribe := without(gateway.Publish.Allow, test.publish), without(gateway.Subscribe.Allow, test.subscribe)
		if len(publish) == len(gateway.Publish.Allow) && test.publish != nil || len(subscribe) == len(gateway.Subscribe.Allow) && test.subscribe != nil {
			t.Errorf("%s: there is no such permission", test.name)
		}
		users += user(test.name, publish, subscribe)
	}
	for _, subject := range append(slices.Clone(gateway.Publish.Allow), gateway.Subscribe.Allow...) {
		if !covered[subject] && !slices.Contains(unseen, subject) {
			t.Errorf("nothing is said to need %s", subject)
		}
	}
	s.run(t, "accounts: { FANFARE: { jetstream: enabled, users: [\n"+users+"] }, SYS: {} }\nsystem_account: SYS")

	delivered := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case delivered <- string(body):
		default:
		}
	}))
	defer hook.Close()
	configure := func(name string) config.Config {
		c := s.configuration(t, "")
		c.NATS.User, c.NATS.Password = name, config.NewSecret("secret")
		c.OpsListen, c.Drain, c.Lifecycle.Retention = "", 0, time.Hour
		c.AdminToken, c.APIKeys, c.Triggers.AllowPrivate = config.NewSecret("admin-token-0123456789"), []config.APIKey{{Key: config.NewSecret("api-key-0123456789"), Scope: config.ScopeAll}}, true
		return c
	}
	setup, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := Setup(setup, configure("admin"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	b, _, err := begin(t, configure("all"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := nats.Connect(s.url, nats.UserInfo("admin", "secret"), nats.RootCAs(s.ca), nats.ClientCert(s.cert, s.key))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	// Everything works with all of them: what fails below fails for want of one.
	a, stop, err := begin(t, configure("all"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range necessary {
		if test.what == nil {
			continue
		}
		p := &pair{t: t, a: a, b: b, hook: hook.URL, admin: admin, delivered: delivered}
		within, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := test.what(within, p); err != nil {
			t.Errorf("%s, with all permissions: %v", test.name, err)
		}
		cancel()
	}
	stop()
	if err := a.client.Denial(); err != nil {
		t.Fatalf("with all permissions: %v", err)
	}
	for _, test := range necessary {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "epochs" {
				recreate(t, admin)
			}
			a, stop, err := begin(t, configure(test.name))
			for err == nil && a.id > b.id { // the lowest does what one has to do
				stop()
				a, stop, err = begin(t, configure(test.name))
			}
			if a == nil {
				t.Fatal(err)
			}
			defer stop()
			p := &pair{t: t, a: a, b: b, lacking: true, hook: hook.URL, admin: admin, delivered: delivered}
			// Where a gateway happens to need it while it starts, it does not start.
			if test.what != nil && err == nil {
				wait := unmet
				switch test.name {
				case "removing entries":
					wait = 4 * unmet // what is to be removed appears first, when the lease is looked at
					fallthrough
				case "where webhooks stand":
					natstest.Eventually(t, "the other to leave it to this one", func() bool { return !b.presence.Janitor() })
				}
				within, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				err = test.what(within, p)
			}
			if err == nil {
				t.Error("works all the same")
			}
			t.Log(err)
			if a.client == nil {
				t.Fatal("no connection")
			}
			natstest.Eventually(t, "the refusal", func() bool { return a.client.Denial() != nil })
			denial := a.client.Denial().Error()
			if !slices.ContainsFunc(append(slices.Clone(test.publish), test.subscribe...), func(p string) bool { return strings.Contains(denial, strings.TrimSuffix(p, ".")) }) {
				t.Errorf("refused was %s", denial)
			}
		})
	}
}

func quoted(subjects []string) string { return `["` + strings.Join(subjects, `", "`) + `"]` }

// begin starts a gateway; err says why it has ended instead.
func begin(t *testing.T, cfg config.Config) (n *Node, stop func(), err error) {
	t.Helper()
	n, err = New(cfg, Options{Logger: slog.New(slog.DiscardHandler), Dev: true})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	over := false
	stop = func() {
		cancel()
		if !over {
			over = true
			if err := <-ended; err != nil {
				t.Log(err) // a gateway that was refused something ends with it
			}
		}
	}
	t.Cleanup(stop)
	go func() { ended <- n.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); !n.gateway.Ready(); {
		select {
		case err := <-ended:
			over = true
			return n, stop, fmt.Errorf("ended: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return n, stop, errors.New("not ready")
		}
	}
	return n, stop, nil
}

// recreate makes the history streams anew, which gateways see by their epochs.
func recreate(t *testing.T, nc *nats.Conn) {
	t.Helper()
	for shard := range subject.Shards {
		name := subject.Stream(shard)
		info, err := nc.Request("$JS.API.STREAM.INFO."+name, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var was struct {
			Config json.RawMessage `json:"config"`
		}
		if err := json.Unmarshal(info.Data, &was); err != nil {
			t.Fatal(err)
		}
		for _, request := range []string{"DELETE", "CREATE"} {
			body := []byte(nil)
			if request == "CREATE" {
				body = was.Config
			}
			if _, err := nc.Request("$JS.API.STREAM."+request+"."+name, body, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// joined is a client in a channel.
func joined(ctx context.Context, t *testing.T, n *Node, channel string) (*client.Channel, error) {
	ch := dial(t, n).Channel(channel, client.ChannelOptions{Presence: true})
	return ch, ch.Join(ctx)
}

// until waits for an event.
func until(ctx context.Context, ch *client.Channel, want func(client.Event) bool) error {
	for {
		e, err := ch.Next(ctx)
		if err != nil {
			return err
		}
		if want(e) {
			return nil
		}
	}
}

// both are clients of the two gateways in one channel; the first is the sender, at a unless turned.
func (p *pair) both(ctx context.Context, channel string, turned bool) (from, to *client.Channel, err error) {
	x, y := p.a, p.b
	if turned {
		x, y = y, x
	}
	if to, err = joined(ctx, p.t, y, channel); err != nil {
		return nil, nil, err
	}
	from, err = joined(ctx, p.t, x, channel)
	return from, to, err
}

func (p *pair) carry(ctx context.Context, turned bool) error {
	x, y := p.a, p.b
	if turned {
		x, y = y, x
	}
	to, err := joined(ctx, p.t, y, "room1")
	if err != nil {
		return err
	}
	if _, err := call(ctx, x, "api-key-0123456789", http.MethodPost, "/api/v1/demo/events", object{"channel": "room1", "data": "live"}); err != nil {
		return err
	}
	return until(ctx, to, func(e client.Event) bool {
		m, ok := e.(*client.Message)
		return ok && strings.Contains(string(m.Data), "live")
	})
}

func (p *pair) see(ctx context.Context, turned bool) error {
	from, to, err := p.both(ctx, "chat/sports", turned)
	if err != nil {
		return err
	}
	return until(ctx, to, func(e client.Event) bool {
		change, ok := e.(*client.PresenceChange)
		return ok && change.Action == protocol.PresenceJoin && change.Member.Socket == from.Self().Socket
	})
}

func (p *pair) whisper(ctx context.Context, turned bool) error {
	from, to, err := p.both(ctx, "room1", turned)
	if err != nil {
		return err
	}
	if _, err := from.SendTo(ctx, "psst", client.SendOptions{To: to.Self().Socket}); err != nil {
		return err
	}
	return until(ctx, to, func(e client.Event) bool { _, ok := e.(*client.Message); return ok })
}

func sends(ctx context.Context, p *pair) error    { return p.carry(ctx, false) }
func receives(ctx context.Context, p *pair) error { return p.carry(ctx, true) }
func isSeen(ctx context.Context, p *pair) error   { return p.see(ctx, false) }
func sees(ctx context.Context, p *pair) error     { return p.see(ctx, true) }
func whispers(ctx context.Context, p *pair) error { return p.whisper(ctx, false) }
func hears(ctx context.Context, p *pair) error    { return p.whisper(ctx, true) }

// refused: it goes on without; what it does then is asked for in vain.
func refused(ctx context.Context, p *pair) error {
	if p.lacking {
		select {
		case <-p.a.client.Denied():
		case <-ctx.Done():
		}
	}
	return p.a.client.Denial()
}

func stores(ctx context.Context, p *pair) error {
	ch, err := joined(ctx, p.t, p.a, "room1")
	if err != nil {
		return err
	}
	_, err = ch.Send(ctx, "hello")
	return err
}

// call asks a gateway's HTTP API.
func call(ctx context.Context, n *Node, bearer, method, path string, body any) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+n.Addr()+path, strings.NewReader(string(text)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
	return string(answer), err
}

type object = map[string]any

func changesRule(ctx context.Context, p *pair) error {
	_, err := call(ctx, p.a, "admin-token-0123456789", http.MethodPost, "/api:meta/workspace/1/realtime/channel",
		object{"pattern": "rule" + fmt.Sprint(time.Now().UnixNano()), "history": 50})
	return err
}

func purges(ctx context.Context, p *pair) error {
	return p.a.history.Purge(ctx, protocol.Topic{Server: 1, Channel: "room1"})
}

// fenced: a gateway whose lease was taken goes on under another one, and removes what stands under the first.
func fenced(ctx context.Context, p *pair) error {
	ch, err := joined(ctx, p.t, p.a, "room1")
	if err != nil {
		return err
	}
	of := func(generation string) string {
		return "." + string(p.a.id) + generation + "." + ch.Self().Socket
	}
	if err := p.listed(ctx, "KV_fanfare_presence_", 4, of("-1"), true); err != nil {
		return err
	}
	if err := p.admin.Publish("$KV.fanfare_gateways."+string(p.a.id)+"-1", []byte("{}")); err != nil {
		return err
	}
	if err := p.listed(ctx, "KV_fanfare_presence_", 4, of("-2"), true); err != nil {
		return err
	}
	return p.listed(ctx, "KV_fanfare_presence_", 4, of("-1"), false)
}

// listed waits until a subject of some streams ends with a text, or none does.
func (p *pair) listed(ctx context.Context, stream string, shards int, suffix string, there bool) error {
	for {
		found := false
		for shard := range shards {
			answer, err := p.admin.RequestWithContext(ctx, fmt.Sprintf("$JS.API.STREAM.INFO.%s%d", stream, shard), []byte(`{"subjects_filter":">"}`))
			if err != nil {
				return err
			}
			var info struct {
				State struct {
					Subjects map[string]int `json:"subjects"`
				} `json:"state"`
			}
			if err := json.Unmarshal(answer.Data, &info); err != nil {
				return err
			}
			for name := range info.State.Subjects {
				found = found || strings.HasSuffix(name, suffix)
			}
		}
		if found == there {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: listed %v, want %v", suffix, found, there)
		}
	}
}

// records: who comes to one gateway stands in the record that another one reads.
func records(ctx context.Context, p *pair) error {
	ch, err := joined(ctx, p.t, p.a, "room1")
	if err != nil {
		return err
	}
	for after := ""; ; {
		text, err := call(ctx, p.b, "api-key-0123456789", http.MethodGet, "/api/v1/demo/lifecycle?limit=1000&wait=1&after="+after, nil)
		if err != nil {
			return err
		}
		var page struct {
			Items []struct {
				Cursor string `json:"cursor"`
				Type   string `json:"type"`
				Client struct {
					SocketID string `json:"socketId"`
				} `json:"client"`
			} `json:"items"`
		}
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			return err
		}
		for _, e := range page.Items {
			if after = e.Cursor; e.Type == "join" && e.Client.SocketID == ch.Self().Socket {
				return nil
			}
		}
	}
}

// delivers: the keeper calls a webhook again and again with what is new, and keeps how far it came.
func delivers(ctx context.Context, p *pair) error {
	for len(p.delivered) > 0 {
		<-p.delivered
	}
	if _, err := call(ctx, p.b, "admin-token-0123456789", http.MethodPut, "/api:meta/workspace/1/realtime",
		object{"lifecycle_webhooks": []object{{"url": p.hook + "/" + string(p.a.id)}}}); err != nil {
		return err
	}
	ch, err := joined(ctx, p.t, p.b, "room1")
	if err != nil {
		return err
	}
	for begins := ""; ; { // it goes on behind the first call, and comes to who has just joined
		select {
		case body := <-p.delivered:
			if begins != "" && body[:200] == begins {
				return errors.New("the same events again")
			}
			if begins = body[:min(200, len(body))]; strings.Contains(body, ch.Self().Socket) && strings.Contains(body, `"type":"join"`) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
