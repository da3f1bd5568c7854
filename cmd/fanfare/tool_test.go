package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// desk runs tools against a real node of its own.
type desk struct {
	node *running
	env  []string
	dir  string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	secrets := []string{
		"FANFARE_API_KEYS=reader:read,sender:publish,both", "FANFARE_ADMIN_TOKEN=admin", "FANFARE_AUTH_JWT_SECRET=" + testSecret,
	}
	d := &desk{node: start(t, []string{"dev"}, loopback(t, secrets...)), dir: t.TempDir()}
	host := d.node.find(t, &d.node.out, `socket +ws://([0-9.:]+)/rt/demo`)
	// A server's own keys do not matter to the tools, wrong as they may be here.
	d.env = append(secrets, "FANFARE_URL=http://"+host, "FANFARE_TLS_CERT=nowhere", "FANFARE_DRAIN=nonsense")
	return d
}

// shell makes a program with what it reads.
func (d *desk) shell(stdin string, args ...string) *shell {
	s := newShell(args, d.env...)
	s.program.stdin = strings.NewReader(stdin)
	return s
}

// run runs a tool and gives what it printed.
func (d *desk) run(t *testing.T, code int, stdin string, args ...string) (out, err string) {
	t.Helper()
	s := d.shell(stdin, args...)
	if got := s.run(t.Context()); got != code {
		t.Errorf("%s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, &s.out, &s.err)
	}
	return s.out.String(), s.err.String()
}

// want asserts that a tool prints what matches.
func (d *desk) want(t *testing.T, pattern string, args ...string) {
	t.Helper()
	out, _ := d.run(t, exitOK, "", args...)
	matches(t, args, out, pattern)
}

func matches(t *testing.T, args []string, out, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?s)^" + pattern + "$").MatchString(out) {
		t.Errorf("%s: %q does not match %q", strings.Join(args, " "), out, pattern)
	}
}

func (d *desk) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// background starts a tool that goes on until a signal.
func (d *desk) background(t *testing.T, args ...string) *running {
	t.Helper()
	return start(t, args, d.env)
}

func TestTools(t *testing.T) {
	d := newDesk(t)
	t.Run("publish", func(t *testing.T) { testPublish(t, d) })
	t.Run("history", func(t *testing.T) { testHistoryTool(t, d) })
	t.Run("watch", func(t *testing.T) { testWatch(t, d) })
	t.Run("looking", func(t *testing.T) { testLooking(t, d) })
	t.Run("explain", func(t *testing.T) { testExplain(t, d) })
	t.Run("settings", func(t *testing.T) { testSettings(t, d) })
	t.Run("keys", func(t *testing.T) { testKeys(t, d) })
}

func testPublish(t *testing.T, d *desk) {
	t.Helper()
	d.want(t, `\S+ sent\n`, "publish", "room1", `{"text":"hello"}`)
	d.want(t, `\S+ stored at \d+\n`, "publish", "room1", "--text", "hello", "--store")
	d.want(t, `paid-7 stored at \d+\n`, "publish", "room1", "1", "--id", "paid-7")
	d.want(t, `paid-7 was published before\n`, "publish", "room1", "1", "--id", "paid-7")
	d.want(t, `{"id":"\S+","offset":null,"stored":false}\n`, "publish", "room1", "null", "--json", "--dbo-id", "17", "--row-id", "3")

	out, _ := d.run(t, exitOK, `{"from":"a pipe"}`+"\n", "publish", "chat/piped", "-", "--store", "--json")
	var receipt eventReceipt
	if err := json.Unmarshal([]byte(out), &receipt); err != nil || receipt.Offset == nil || !receipt.Stored {
		t.Fatalf("%s %v", out, err)
	}
	d.run(t, exitOK, "", "publish", "chat/piped", "2", "--expect-offset", *receipt.Offset)
	_, text := d.run(t, exitRefused, "", "publish", "chat/piped", "3", "--expect-offset", *receipt.Offset)
	if !strings.Contains(text, "(conflict)") {
		t.Error(text)
	}
	out, _ = d.run(t, exitOK, "1\n\n[2]\n\"three\"\n", "publish", "chat/lines", "--lines", "--store")
	if strings.Count(out, "stored at") != 3 {
		t.Error(out)
	}
	_, text = d.run(t, exitUsage, "1\nnonsense\n3\n", "publish", "chat/lines", "--lines")
	if !strings.Contains(text, "line 2: the data is not JSON") {
		t.Error(text)
	}
	d.run(t, exitUsage, "", "publish", "room1", "hello")
	d.run(t, exitUsage, "", "publish", "room1")
	d.run(t, exitUsage, "", "publish", "room1", "1", "--dbo-id", "17")
	_, text = d.run(t, exitRefused, "", "publish", "nowhere", "1")
	if text != "fanfare: Channel not found (channel_not_found)\n" {
		t.Error(text)
	}
	_, text = d.run(t, exitRefused, "", "publish", "room1", "1", "--hash", "other")
	if !strings.Contains(text, "unknown_hash") {
		t.Error(text)
	}
}

func testHistoryTool(t *testing.T, d *desk) {
	t.Helper()
	var lines strings.Builder
	for range 30 {
		lines.WriteString(`{"n":1}` + "\n")
	}
	out, _ := d.run(t, exitOK, lines.String(), "publish", "chat/h \x1b[31m", "--lines", "--store", "--json")
	var offsets []string
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		var r eventReceipt
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Offset == nil {
			t.Fatal(line, err)
		}
		offsets = append(offsets, *r.Offset)
	}
	name := "chat/h \x1b[31m"
	args := []string{"history", name, "--limit", "2"}
	out, text := d.run(t, exitOK, "", args...)
	if want := "#" + offsets[28] + "  event  {\"n\":1}\n#" + offsets[29] + "  event  {\"n\":1}\n"; out != want || text != "there is more\n" {
		t.Errorf("%q %q", out, text)
	}
	out, text = d.run(t, exitOK, "", "history", name, "--before", offsets[3])
	if strings.Count(out, "\n") != 3 || !strings.HasPrefix(out, "#"+offsets[0]) || text != "" {
		t.Errorf("%q %q", out, text)
	}
	out, _ = d.run(t, exitOK, "", "history", name, "--after", offsets[27], "--json")
	if strings.Count(out, `"action":"event"`) != 2 {
		t.Error(out)
	}
	d.want(t, ``, "history", name, "--since", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	d.run(t, exitUsage, "", "history", name, "--before", "1", "--after", "2")
	d.run(t, exitUsage, "", "history", name, "--limit", "0")
	_, text = d.run(t, exitRefused, "", "history", name, "--before", "x")
	if !strings.Contains(text, "before must be an offset") {
		t.Error(text)
	}
}

func testWatch(t *testing.T, d *desk) {
	t.Helper()
	w := d.background(t, "watch", "room1", "chat/w", "--presence", "--dbo-id", "17", "--row-id", "3", "--extras", `{"name":"Jo"}`)
	w.find(t, &w.out, `room1  (joined as) \S+`)
	w.find(t, &w.out, `chat/w  (joined as) \S+`)
	w.find(t, &w.out, `(\S+  17/3  {"name":"Jo"})`)
	d.run(t, exitOK, "", "publish", "room1", `"\u001b[31mred"`)
	w.find(t, &w.out, `room1  (event  "\\u001b\[31mred")`)
	d.run(t, exitOK, "", "publish", "chat/w", `{"n":1}`, "--store")
	w.find(t, &w.out, `chat/w  (#\d+ event  {"n":1})`)
	if strings.Contains(w.out.String(), "\x1b") {
		t.Error("an escape sequence went to the terminal")
	}

	one := d.background(t, "watch", "chat/w", "--history", "--count", "1", "--json")
	one.find(t, &one.out, `("type":"event","channel":"chat/w".*"data":{"n":1})`)
	one.find(t, &one.out, `("type":"joined")`)
	d.run(t, exitOK, "", "publish", "chat/w", `{"n":2}`)
	if code := one.ended(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, &one.err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(one.out.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if code := w.stop(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, &w.err)
	}

	d.run(t, exitRuntime, "", "watch", "chat/silent", "--timeout", "50ms")
	_, text := d.run(t, exitRefused, "", "watch", "nowhere")
	if !strings.Contains(text, "nowhere: Channel not found (channel_not_found)") {
		t.Error(text)
	}
	_, text = d.run(t, exitRefused, "", "watch", "room1", "--hash", "other")
	if !strings.Contains(text, "unknown_hash") {
		t.Error(text)
	}
	d.run(t, exitUsage, "", "watch")
	d.run(t, exitUsage, "", "watch", "room1", "--user-token-file", filepath.Join(d.dir, "nowhere"))

	// With the token of a user from a file, or from a pipe.
	token, _ := d.run(t, exitOK, "", "token", "mint", "--dbo-id", "17", "--row-id", "user-9")
	user := d.background(t, "watch", "room1", "--presence", "--user-token-file", d.file(t, "token", token))
	user.find(t, &user.out, `(17/user-9)`)
	user.signals <- syscall.SIGINT
	if code := user.ended(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func testLooking(t *testing.T, d *desk) {
	t.Helper()
	w := d.background(t, "watch", "room1", "chat/l", "--dbo-id", "17", "--row-id", "3")
	w.find(t, &w.out, `chat/l  (joined)`)
	d.want(t, ` +1  chat/l\n +1  room1\n`, "channels")
	d.want(t, ` +1  chat/l\n`, "channels", "--prefix", "chat/")
	d.want(t, ` +1  chat/l\n`, "channels", "--limit", "1")
	d.want(t, ` +0  chat/none\n +1  room1\n`, "channels", "chat/none", "room1")
	d.want(t, `{"channel":"chat/l","occupancy":1}\n{"channel":"room1","occupancy":1}\n`, "channels", "--json")
	d.want(t, `\S+  17/3\n`, "presence", "room1")
	d.want(t, `chat/l  \S+  17/3\n`, "presence", "chat/*")
	d.want(t, `{"socketId":"\S+","extras":{},"permissions":{"dbo_id":17,"row_id":3}}\n`, "presence", "room1", "--json")
	d.run(t, exitRefused, "", "presence", "nowhere")
	d.want(t, `(?s).*\S+  17/3  open for \d+s  [^\n]*chat/l@\d+.*`, "connections", "--dbo-id", "17", "--row-id", "3")
	d.want(t, `(?s).*\S+  17/3  closed \d+s ago after \d+s: client \(1000\)  [^\n]*chat/w@\d+.*`, "connections", "--dbo-id", "17", "--row-id", "3")
	d.want(t, ``, "connections", "--row-id", "nobody")
	d.want(t, `{"socketId":"\S+","gateway":"\S+","state":"open",.*\n`, "connections", "--channel", "chat/l", "--json", "--limit", "1")
	d.run(t, exitUsage, "", "connections", "x", "--row-id", "3")

	// The shell asks for names.
	out, _ := d.run(t, exitOK, "", "__complete", "history", "ch")
	if !strings.HasPrefix(out, "chat/l\n:4\n") {
		t.Errorf("completion: %q", out)
	}
	out, _ = d.run(t, exitOK, "", "__complete", "explain", "room1", "")
	if !strings.Contains(out, "send_private\n") {
		t.Errorf("completion: %q", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, _ := d.run(t, exitOK, "", "completion", shell); len(out) < 1000 {
			t.Errorf("completion for %s: %q", shell, out)
		}
	}
	if code := w.stop(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func testExplain(t *testing.T, d *desk) {
	t.Helper()
	d.want(t, `yes: .*\nrule: room1\ndecided by: anonymous_clients\n`, "explain", "room1")
	d.want(t, `yes: .*\nrule: chat/\*\n.*`, "explain", "chat/sports", "send", "--dbo-id", "17", "--row-id", "3")
	out, text := d.run(t, exitRefused, "", "explain", "nowhere")
	if !strings.HasPrefix(out, "no: ") || !strings.Contains(out, "a client gets: channel_not_found") || text != "" {
		t.Errorf("%q %q", out, text)
	}
	out, _ = d.run(t, exitRefused, "", "explain", "room1", "send_authenticated", "--json")
	if !strings.Contains(out, `"allowed":false`) {
		t.Error(out)
	}
	_, text = d.run(t, exitUsage, "", "explain", "room1", "dance")
	if !strings.Contains(text, "unknown operation dance: use one of [join send") {
		t.Error(text)
	}
}

func testSettings(t *testing.T, d *desk) {
	t.Helper()
	exported, _ := d.run(t, exitOK, "", "export")
	var settings realtimeJSON
	if err := json.Unmarshal([]byte(exported), &settings); err != nil || len(settings.Channels) != 2 || *settings.Hash != "demo" {
		t.Fatalf("%s %v", exported, err)
	}
	whole := d.file(t, "settings.json", exported)
	d.want(t, "0 added, 0 changed, 0 removed, 2 as before\n", "import", whole)

	script, text := d.run(t, exitOK, "", "export", "--format", "script")
	if strings.Count(script, "realtime_channel") != 2 {
		t.Error(script)
	}
	if strings.Contains(exported, "pattern_join") != strings.Contains(text, "the script form does not have pattern_join") {
		t.Errorf("lost in silence: %q", text)
	}
	d.want(t, "0 added, 0 changed, 0 removed, 2 as before\n", "import", d.file(t, "all.xs", script))

	// One rule in script form is added, and changes only what it says.
	one := d.file(t, "one.xs", "// a room\nrealtime_channel \"room1\" {\n description = \"new\"\n settings = { message_history: 25, anonymous_clients: true }\n tags = []\n}\nrealtime_channel \"news/*\" {\n public_messaging = { active: true }\n}\n")
	out, text := d.run(t, exitOK, "", "import", one, "--dry-run")
	want := "~ room1: client_private_messaging, client_public_messaging, description, history, presence\n+ news/*\n1 added, 1 changed, 0 removed, 1 as before\n"
	if out != want+"nothing was changed\n" || !strings.Contains(text, "one.xs: line 5: field tags is not imported") {
		t.Errorf("%q %q", out, text)
	}
	if now, _ := d.run(t, exitOK, "", "export"); now != exported {
		t.Errorf("a dry run changed %s", now)
	}
	d.want(t, regexp.QuoteMeta(want), "import", one)
	d.want(t, "0 added, 0 changed, 0 removed, 3 as before\n", "import", one)
	d.want(t, `yes: .*rule: news/\*.*`, "explain", "news/today", "join", "--authenticated")

	// Settings replace what is there, the address too unless told otherwise.
	d.want(t, `~ room1: .*- news/\*\n0 added, 1 changed, 1 removed, 1 as before\nnothing was changed\n`, "import", whole, "--dry-run")
	d.want(t, `~ room1: .*\n0 added, 1 changed, 0 removed, 2 as before\n`, "import", whole, "--merge")
	d.want(t, `- news/\*\n0 added, 0 changed, 1 removed, 2 as before\n`, "import", whole)
	if now, _ := d.run(t, exitOK, "", "export"); now != exported {
		t.Errorf("not as before: %s", now)
	}
	moved := strings.Replace(exported, `"hash": "demo"`, `"hash": "moved-to-another"`, 1)
	out, _ = d.run(t, exitOK, moved, "import", "-", "--dry-run")
	if !strings.HasPrefix(out, "~ hash: ") {
		t.Error(out)
	}
	out, _ = d.run(t, exitOK, moved, "import", "-", "--dry-run", "--channels-only")
	if strings.Contains(out, "hash") {
		t.Error(out)
	}
	out, _ = d.run(t, exitOK, `[{"pattern":"list"}]`, "import", "-", "--dry-run")
	if !strings.HasPrefix(out, "+ list\n1 added") {
		t.Error(out)
	}

	// What is wrong is said, and where.
	for _, test := range []struct{ in, want string }{
		{`{"channels":[{"pattern":"x","history":7,"presence":1}]}`, "channels[0].presence"},
		{`{"enabled":true}`, "no channels"},
		{`{"channels":`, "fanfare: standard input: "},
		{`workspace x {}`, "no realtime_channel"},
		{"realtime_channel \"x\" {\n settings = { message_history: 7 }\n}", "2:32: message_history must be one of"},
		{``, "no realtime_channel"},
	} {
		if _, text := d.run(t, exitUsage, test.in, "import", "-"); !strings.Contains(text, test.want) {
			t.Errorf("%s: %s, want %s", test.in, text, test.want)
		}
	}
	_, text = d.run(t, exitRefused, `{"channels":[{"pattern":"x","history":7}]}`, "import", "-")
	if !strings.Contains(text, "channels[0].history") {
		t.Error(text)
	}
	d.run(t, exitRefused, "", "export", "--workspace", "99")
	d.run(t, exitUsage, "", "export", "--format", "xml")
	target := filepath.Join(d.dir, "out.json")
	d.want(t, "", "export", "--out", target)
	if b, err := os.ReadFile(target); err != nil || string(b) != exported {
		t.Errorf("%s %v", b, err)
	}
}

func testKeys(t *testing.T, d *desk) {
	t.Helper()
	all := d.env
	defer func() { d.env = all }()
	d.env = []string{all[3]} // where the server is, and nothing else
	if !strings.HasPrefix(d.env[0], "FANFARE_URL=") {
		t.Fatal(d.env)
	}
	_, text := d.run(t, exitUsage, "", "channels")
	if !strings.Contains(text, "this needs an API key: set FANFARE_API_KEYS or --key-file") {
		t.Error(text)
	}
	_, text = d.run(t, exitUsage, "", "export")
	if !strings.Contains(text, "this needs the admin token: set FANFARE_ADMIN_TOKEN or --token-file") {
		t.Error(text)
	}
	d.want(t, "", "channels", "--key-file", d.file(t, "key", "reader\n"))
	_, text = d.run(t, exitRefused, "", "publish", "room1", "1", "--key-file", d.file(t, "key", "reader\n"))
	if !strings.Contains(text, "insufficient_scope") {
		t.Error(text)
	}
	_, text = d.run(t, exitRefused, "", "channels", "--key-file", d.file(t, "key", "wr0ng"))
	if !strings.Contains(text, "unauthorized") || strings.Contains(text, "wr0ng") {
		t.Error(text)
	}
	out, _ := d.run(t, exitOK, "admin\n", "export", "--token-file", "-")
	if !strings.Contains(out, `"demo"`) {
		t.Error(out)
	}
	d.run(t, exitUsage, "", "channels", "--key-file", d.file(t, "empty", "\n"))
	d.run(t, exitUsage, "", "token", "mint", "--row-id", "3")
	d.env = append(d.env, "FANFARE_ADMIN_TOKEN=admin") // opens the server API too
	d.want(t, "", "channels")
	d.env = []string{"FANFARE_URL=http://127.0.0.1:1", "FANFARE_API_KEYS=k"}
	for _, args := range [][]string{{"channels"}, {"watch", "room1"}} {
		_, text = d.run(t, exitRuntime, "", args...)
		if !strings.HasPrefix(text, "fanfare: no server at http://127.0.0.1:1 (--url or FANFARE_URL says where it is)") {
			t.Error(text)
		}
	}
	d.env = []string{"FANFARE_URL=nonsense"}
	d.run(t, exitUsage, "", "channels")
}

func TestToken(t *testing.T) {
	d := &desk{env: []string{"FANFARE_AUTH_JWT_SECRET=" + testSecret}, dir: t.TempDir()}
	token, _ := d.run(t, exitOK, "", "token", "mint", "--dbo-id", "17", "--row-id", "3", "--extras", `{"name":"Jo"}`, "--ttl", "1h")
	out, _ := d.run(t, exitOK, token, "token", "inspect", "--verify")
	matches(t, []string{"inspect"}, out, `signed, \d+ bytes\nheader\n  alg        "HS256"\n.*claims\n  dbo_id     17\n.*extras     {"name":"Jo"}\n.*row_id     3\nexpires \S+\nvalid, for 17/3\n`)
	out, _ = d.run(t, exitOK, "", "token", "inspect", d.file(t, "token", token), "--json")
	if !json.Valid([]byte(out)) || strings.Contains(out, `"valid"`) {
		t.Error(out)
	}
	d.env = []string{"FANFARE_AUTH_JWT_SECRET=another" + testSecret}
	out, _ = d.run(t, exitRefused, token, "token", "inspect", "--verify")
	if !strings.Contains(out, "REFUSED: ") {
		t.Error(out)
	}
	d.run(t, exitRefused, "nonsense", "token", "inspect")
	d.run(t, exitUsage, "", "token", "inspect")

	// Secrets from files, other algorithms, other claims.
	d.env = []string{"FANFARE_AUTH_CLAIMS_ROW_ID=sub"}
	key := d.file(t, "key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
	token, _ = d.run(t, exitOK, "", "token", "mint", "--row-id", "u-1", "--jwe-key-file", key, "--ttl", "0")
	out, _ = d.run(t, exitOK, token, "token", "inspect")
	if !strings.Contains(out, "encrypted, ") || !strings.Contains(out, `"A256KW"`) || strings.Contains(out, "u-1") {
		t.Error(out)
	}
	token, _ = d.run(t, exitOK, "", "token", "mint", "--row-id", "u-1", "--secret-file", d.file(t, "secret", testSecret+testSecret), "--alg", "HS512")
	out, _ = d.run(t, exitOK, token, "token", "inspect")
	if !strings.Contains(out, "sub        \"u-1\"") || !strings.Contains(out, `"HS512"`) {
		t.Error(out)
	}
	for _, args := range []string{
		"--row-id 3", "--row-id 3 --secret-file nowhere", "--row-id 3 --secret-file KEY --alg none", "--row-id 3 --secret-file KEY --ttl -1h",
		"--row-id 3 --secret-file KEY --extras []", "--dbo-id x --secret-file KEY", "extra --secret-file KEY",
	} {
		words := strings.Fields(strings.ReplaceAll(args, "KEY", key))
		d.run(t, exitUsage, "", append([]string{"token", "mint"}, words...)...)
	}
}

// The help of every tool shows how to use it, and no flag takes a secret.
func TestToolHelp(t *testing.T) {
	p := &program{}
	commands := p.toolCommands()
	for _, cmd := range commands {
		commands = append(commands, cmd.Commands()...)
	}
	for _, cmd := range commands {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.Name())
		}
		for _, flag := range []string{"token", "key", "secret", "jwt-secret", "jwe-key", "password"} {
			if cmd.Flags().Lookup(flag) != nil {
				t.Errorf("%s takes a secret as --%s", cmd.Name(), flag)
			}
		}
	}
}
