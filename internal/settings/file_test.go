package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/internal/policy"
)

const goodFile = `
servers:
  - id: 1
    name: main
    enabled: true
    hash: demo
    channels:
      - {pattern: room1, anonymous_clients: true}
      - pattern: chat/*
        history: 100
        triggers:
          - url: https://example.test/hook
            actions: {message: true}
            secret: whsec_MfKQ9r8GKYqwTwjUPD8ILPZIo2LaLaSw
`

func fileStore(t *testing.T, content string) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	write(t, path, content)
	s, err := New(Options{File: path, CheckInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

// write replaces a file as editors and Kubernetes do: whole, by renaming.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsFollowed(t *testing.T) {
	s, path := fileStore(t, goodFile)
	if err := errors.Join(s.Ensure(t.Context()), s.Load(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !s.ReadOnly() {
		t.Error("a file is not read-only")
	}
	server := s.Current().ByHash("demo")
	rule := server.Rule("chat/sports")
	if rule == nil || rule.History != 100 || rule.ID < firstRuleID || len(rule.Triggers) != 1 || !rule.Enabled {
		t.Fatalf("rule is %+v", rule)
	}
	follow(t, s)

	write(t, path, goodFile+"\n# a comment changes nothing\n")
	write(t, path, strings.Replace(goodFile, "history: 100", "history: 250", 1))
	eventually(t, "the new history", func() bool {
		r := s.Current().ByHash("demo").Rule("chat/sports")
		return r != nil && r.History == 250
	})
	if r := s.Current().ByHash("demo").Rule("chat/sports"); r.ID != rule.ID {
		t.Errorf("rule %d became %d", rule.ID, r.ID)
	}
	before := s.Current()
	for i, bad := range []string{
		"servers: [",
		strings.Replace(goodFile, "history: 100", "history: 7", 1),
		strings.Replace(goodFile, "anonymous_clients", "anonymus_clients", 1),
		strings.Repeat("#", maxFile+1),
	} {
		write(t, path, bad)
		eventually(t, "the bad file noticed", func() bool {
			return testutil.ToFloat64(s.metrics.invalid) == float64(i+1)
		})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss noticed", func() bool { return testutil.ToFloat64(s.metrics.invalid) == 5 })
	if s.Current() != before {
		t.Fatal("a bad file changed the settings")
	}
	if n := testutil.ToFloat64(s.metrics.refused); n != 1 {
		t.Errorf("%v refused", n)
	}
	write(t, path, "servers: []")
	eventually(t, "no servers", func() bool { return len(s.Current().Servers()) == 0 })
	eventually(t, "nothing refused", func() bool { return testutil.ToFloat64(s.metrics.refused) == 0 })
}

func TestUnchangedServerStaysTheSame(t *testing.T) {
	const second = "\n  - {id: 2, hash: other, name: %}\n"
	s, path := fileStore(t, goodFile+strings.Replace(second, "%", "a", 1))
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	follow(t, s)
	first := s.Current().ByID(1)
	write(t, path, goodFile+strings.Replace(second, "%", "b", 1))
	eventually(t, "the new name", func() bool { return s.Current().ByID(2).Name == "b" })
	if s.Current().ByID(1) != first {
		t.Error("server 1 is another value though nothing in it changed")
	}
}

func TestFileIsReadOnly(t *testing.T) {
	s, _ := fileStore(t, goodFile)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, create := s.Create(t.Context(), policy.Server{})
	_, save := s.Save(t.Context(), s.Current().ByID(1).Clone(), 1)
	_, update := s.Update(t.Context(), 1, 0, func(*policy.Server) error { return nil })
	for name, err := range map[string]error{"create": create, "save": save, "update": update, "delete": s.Delete(t.Context(), 1, 0)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	s, path := fileStore(t, "servers: [")
	if err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("bad file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestParse(t *testing.T) {
	const head = "servers:\n  - id: 1\n    hash: demo\n"
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", ""},
		{"comments", "# nothing\n", ""},
		{"json", `{"servers": [{"id": 1, "hash": "a", "enabled": true, "channels": [{"pattern": "x"}]}]}`, ""},
		{"json with tabs", "{\n\t\"servers\": []\n}", ""},
		{"anchors", "servers:\n  - id: 1\n    hash: a\n    channels:\n      - &c {pattern: a, history: 25}\n      - {<<: *c, pattern: b}\n", ""},
		{"hash 1e3 is a number", "servers: [{id: 1, hash: 1e3}]", "line 1: servers[0].hash: must be a string"},
		{"not a mapping", "- 1", "must be an object"},
		{"unknown at top", "server: []", "line 1: server: is not a known field"},
		{"unknown in server", head + "    colour: red\n", "line 4: servers[0].colour: is not a known field"},
		{"unknown in rule", head + "    channels:\n      - pattern: a\n        anonymus: true\n", "line 6: servers[0].channels[0].anonymus: is not a known field"},
		{"other case", head + "    Enabled: true\n", "line 4: servers[0].Enabled: is not a known field"},
		{"yes is a string", head + "    enabled: yes\n", "line 4: servers[0].enabled: must be true or false"},
		{"number as name", head + "    name: 7\n", "line 4: servers[0].name: must be a string"},
		{"text as history", head + "    channels:\n      - {pattern: a}\n      - {pattern: b, history: many}\n", "line 6: servers[0].channels[1].history: must be an integer"},
		{"history 7", head + "    channels: [{pattern: a, history: 7}]\n", "line 4: servers[0].channels[0].history: must be one of 0, 25, 50, 100, 250, 1000"},
		{"twice", head + "    channels: [{pattern: a/*}, {pattern: a, wildcard: true}]\n", `line 4: servers[0].channels[1].pattern: "a/*" is the pattern of channels[0] already`},
		{"no id", "servers: [{hash: a}]", "line 1: servers[0].id: is required"},
		{"no hash", "servers: [{id: 1}]", "line 1: servers[0].hash: must be 1 to 64 of the characters A-Z a-z 0-9 - _"},
		{"two of one id", "servers: [{id: 1, hash: a}, {id: 1, hash: b}]", "line 1: servers[1].id: 1 is used twice"},
		{"two of one hash", "servers: [{id: 1, hash: a}, {id: 2, hash: a}]", "line 1: servers[1].hash: is the hash of server 1 already"},
		{"a date", "servers: [{id: 1, hash: a, name: 2024-01-02}]", "servers[0].name: is a date; put it in quotes"},
		{"key twice", "servers: []\nservers: []\n", `line 2: mapping key "servers" already defined at line 1`},
		{"json key twice", `{"servers": [], "servers": []}`, "servers: is there twice"},
		{"two documents", "servers: []\n---\nservers: []\n", "has more than one YAML document"},
		{"number as key", "1: 2", "has a key that is not a string"},
		{"infinite", "servers: [{id: .inf}]", "has a value that JSON does not know"},
		{"json cut off", `{"servers": [`, "servers: is not valid JSON: it ends too early"},
		{"action missing", head + "    channels: [{pattern: a, triggers: [{url: 'https://x.test'}]}]\n", "line 4: servers[0].channels[0].triggers[0].actions: must switch on join or message"},
		{"secret", head + "    channels: [{pattern: a, triggers: [{url: 'https://x.test', actions: {join: true}, secret: abc}]}]\n", "line 4: servers[0].channels[0].triggers[0].secret: must be whsec_ and 16 to 64 bytes in base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.content), policy.Limits{})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodFile))
	f.Add([]byte(`{"servers":[{"id":1,"hash":"a","channels":[{"pattern":"x/*","triggers":[{"url":"http://a","secret":["whsec_AA"]}]}]}]}`))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("servers:\n- &s {id: 1, hash: a}\n- {<<: *s, id: 2}"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Fuzz(func(t *testing.T, content []byte) {
		servers, err := Parse(content, policy.Limits{})
		if err != nil {
			return
		}
		// What is accepted can be stored, and reads back as the same.
		for _, s := range servers {
			value, err := encode(s)
			if err != nil {
				return // too large
			}
			back, err := decode(s.ID, value, policy.Limits{})
			if err != nil {
				t.Fatalf("%s: %v", value, err)
			}
			if !same(s, back) {
				again, _ := encode(back)
				t.Fatalf("%s reads back as %s", value, again)
			}
		}
	})
}
