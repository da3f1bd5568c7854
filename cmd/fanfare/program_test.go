package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// shell is a program whose streams a test reads.
type shell struct {
	program
	out, err buffer
	signals  chan os.Signal
}

func newShell(args []string, env ...string) *shell {
	s := &shell{signals: make(chan os.Signal, 2)}
	s.program = program{args: args, env: env, stdout: &s.out, stderr: &s.err, signals: s.signals}
	return s
}

// golden compares with testdata/NAME.txt.
func golden(t *testing.T, name, have string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(have), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", file, have)
	}
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name, args string
		env        []string
		code       int
	}{
		{name: "help", args: "", code: exitOK},
		{name: "help-serve", args: "serve --help", code: exitOK},
		{name: "help-dev", args: "dev --help", code: exitOK},
		{name: "help-check", args: "check --help", code: exitOK},
		{name: "unknown-command", args: "srve", code: exitUsage},
		{name: "help-token", args: "token", code: exitOK},
		{name: "unknown-token-command", args: "token mnt", code: exitUsage},
		{name: "unknown-flag", args: "serve --listn :1", code: exitUsage},
		{name: "flag-without-value", args: "serve --listen", code: exitUsage},
		{name: "too-many-arguments", args: "serve now", code: exitUsage},
		{name: "bad-flag-value", args: "serve --listen nonsense", code: exitUsage},
		{name: "bad-environment", args: "dev", env: []string{"FANFARE_DRAIN=soon", "FANFARE_LISTN=:1"}, code: exitUsage},
		{name: "missing-file", args: "serve --config nowhere.yaml", code: exitUsage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newShell(strings.Fields(test.args), test.env...)
			if code := s.run(t.Context()); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			golden(t, test.name, s.out.String()+"--- stderr\n"+s.err.String())
		})
	}
}

func TestVersion(t *testing.T) {
	s := newShell([]string{"version"})
	if code := s.run(t.Context()); code != exitOK || s.err.String() != "" {
		t.Fatalf("%d %s", code, &s.err)
	}
	lines := strings.Split(s.out.String(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "fanfare ") || !strings.HasPrefix(lines[1], "commit  ") ||
		lines[2] != fmt.Sprintf("go      %s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH) {
		t.Errorf("%q", lines)
	}
}

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"good.yaml":         "listen: ':1'\nlimits:\n  message_bytes: 128KiB\n",
		"bad.yaml":          "listen: ':1'\nlimits:\n  message_byts: 3\ndrain: soon\n",
		"settings.yaml":     "servers:\n- id: 1\n  name: main\n  enabled: true\n  hash: demo\n  channels:\n  - pattern: room1\n  - pattern: chat/*\n",
		"settings-bad.yaml": "servers:\n- id: 1\n  name: main\n  hash: demo\n  channels:\n  - pattern: room1\n    history: 7\n",
		"settings.json":     "{\n\t\"servers\": []\n}",
		"both.yaml":         "settings_file: settings.yaml\n",
		"both-bad.yaml":     "settings_file: settings-bad.yaml\n",
		"short-names.yaml":  "settings_file: settings.yaml\nlimits: {channel_bytes: 3}\n",
		"broken.yaml":       "servers: [\n",
		"broken-first.yaml": "listen: a: b\n",
		"many.yaml": "servers:\n- id: 1\n  hash: demo\n  colour: red\n  channels:\n  - pattern: room1\n    history: 7\n" +
			"  - pattern: a\n  - pattern: b\n    anonymus: true\n- hash: b\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		args     string
		env      []string
		code     int
		out, err string
	}{
		{args: "good.yaml", out: "good.yaml: configuration is valid\n"},
		{args: "--config good.yaml", out: "good.yaml: configuration is valid\n"},
		{args: "", out: "configuration is valid\n"},
		{args: "", env: []string{"FANFARE_CONFIG=bad.yaml"}, code: 2, err: "bad.yaml:3: limits.message_byts: unknown key (did you mean limits.message_bytes?)\nbad.yaml:4: drain: \"soon\" is not a duration such as 30s or 5ms\n"},
		{args: "good.yaml", env: []string{"FANFARE_LISTEN=x"}, code: 2, err: "FANFARE_LISTEN: listen: \"x\" is not an address such as :8000 or 127.0.0.1:8000\n"},
		{args: "good.yaml", env: []string{"FANFARE_BIN=x"}, out: "good.yaml: configuration is valid\n", err: "warning: FANFARE_BIN: not a variable of fanfare, ignored\n"},
		{
			args: "good.yaml bad.yaml settings.yaml", code: 2, out: "good.yaml: configuration is valid\nsettings.yaml: settings are valid: servers 1, channel rules 2\n",
			err: "bad.yaml:3: limits.message_byts: unknown key (did you mean limits.message_bytes?)\nbad.yaml:4: drain: \"soon\" is not a duration such as 30s or 5ms\n",
		},
		{args: "settings.json", out: "settings.json: settings are valid: servers 0, channel rules 0\n"},
		{args: "both.yaml", out: "settings.yaml: settings are valid: servers 1, channel rules 2\nboth.yaml: configuration is valid\n"},
		{args: "nowhere.yaml", code: 2, err: "nowhere.yaml: no such file or directory\n"},
		{args: "broken-first.yaml", code: 2, err: "broken-first.yaml:1: mapping values are not allowed in this context\n"},
		{
			args: "many.yaml", code: 2, err: "many.yaml:4: servers[0].colour: is not a known field\n" +
				"many.yaml:7: servers[0].channels[0].history: must be one of 0, 25, 50, 100, 250, 1000\n" +
				"many.yaml:10: servers[0].channels[2].anonymus: is not a known field\n" +
				"many.yaml:11: servers[1].id: is required\n",
		},
		{args: "broken.yaml", code: 2, err: "broken.yaml:1: did not find expected node content\n"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			s := newShell(append([]string{"check"}, strings.Fields(test.args)...), test.env...)
			code := s.run(t.Context())
			if code != test.code || s.out.String() != test.out || s.err.String() != test.err {
				t.Errorf("code %d\n%s--- stderr\n%s", code, &s.out, &s.err)
			}
		})
	}
	for _, args := range []string{"settings-bad.yaml", "both-bad.yaml"} {
		s := newShell([]string{"check", args})
		if code := s.run(t.Context()); code != 2 || !strings.HasPrefix(s.err.String(), "settings-bad.yaml:7: servers[0].channels[0].history: ") {
			t.Errorf("%s: code %d, %s", args, code, &s.err)
		}
	}
	s := newShell([]string{"check", "short-names.yaml"})
	if code := s.run(t.Context()); code != 2 || !strings.Contains(s.err.String(), "settings.yaml:7: servers[0].channels[0].pattern: ") {
		t.Errorf("the limits of the configuration do not count: %d %s", code, &s.err)
	}
}

// fake is a node that does as told.
type fake struct {
	addr  atomic.Value // string
	drain time.Duration
	err   error
	fail  bool // end at once with err
}

func (f *fake) Run(ctx context.Context) error {
	if f.fail {
		return f.err
	}
	f.addr.Store("127.0.0.1:1234")
	<-ctx.Done()
	time.Sleep(f.drain) // in a synctest bubble
	return f.err
}

func (f *fake) Addr() string {
	addr, _ := f.addr.Load().(string)
	return addr
}

func (f *fake) Ready() bool { return f.Addr() != "" }

func TestSignals(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name    string
		node    fake
		signals []time.Duration // when they come
		err     error
		after   time.Duration
	}{
		{name: "drain", node: fake{drain: 30 * time.Second}, signals: []time.Duration{time.Minute}, after: 90 * time.Second},
		{name: "second signal", node: fake{drain: 30 * time.Second}, signals: []time.Duration{time.Minute, time.Second}, err: errSecondSignal, after: 61 * time.Second},
		{name: "twice at once", node: fake{drain: 30 * time.Second}, signals: []time.Duration{time.Minute, sameSignal / 2}, after: 90 * time.Second},
		{name: "drain fails", node: fake{err: boom}, signals: []time.Duration{time.Minute}, err: boom, after: time.Minute},
		{name: "start fails", node: fake{err: boom, fail: true}, err: boom},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShell(nil)
				s.signals = make(chan os.Signal, 2)
				s.program.signals = s.signals
				go func() {
					for _, wait := range test.signals {
						time.Sleep(wait)
						s.signals <- syscall.SIGTERM
					}
				}()
				begin := time.Now()
				up := 0
				err := s.serve(t.Context(), &test.node, slog.New(slog.DiscardHandler), func(addr string) {
					up++
					if addr != "127.0.0.1:1234" {
						t.Error(addr)
					}
				})
				if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
					t.Errorf("%v, want %v", err, test.err)
				}
				if took := time.Since(begin); took != test.after {
					t.Errorf("took %s, want %s", took, test.after)
				}
				if !test.node.fail && up != 1 {
					t.Errorf("up was called %d times", up)
				}
				time.Sleep(test.node.drain) // a process would have ended; here the node's goroutine must
			})
		})
	}
}

// The parent's context ends like a first signal.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newShell(nil)
		s.signals = make(chan os.Signal, 2)
		s.program.signals = s.signals
		time.AfterFunc(time.Second, cancel)
		if err := s.serve(ctx, &fake{drain: time.Second}, slog.New(slog.DiscardHandler), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err     error
		started bool
		code    int
		text    string
	}{
		{nil, true, exitOK, ""},
		{errors.New("listen: taken"), true, exitRuntime, "fanfare: listen: taken\n"},
		{errors.Join(errors.New("one"), errors.New("two")), true, exitRuntime, "fanfare: one\nfanfare: two\n"},
		{usageError{errors.New("no key")}, true, exitUsage, "fanfare: no key\nfanfare: see 'fanfare --help'\n"},
		{fmt.Errorf("x: %w", config.Problems{{Place: "a:1", Key: "b", Text: "c"}}), true, exitUsage, "a:1: b: c\n"},
	} {
		s := newShell(nil)
		s.started = test.started
		if code := s.report(s.root(), test.err); code != test.code || s.err.String() != test.text {
			t.Errorf("%v: %d %q", test.err, code, &s.err)
		}
	}
}

func TestDevDefaults(t *testing.T) {
	base := devDefaults()
	s := newShell(nil, "FANFARE_LISTEN=:9000", "FANFARE_ADMIN_TOKEN=mine")
	cmd := s.devCommand()
	c, err := s.load(cmd, &base)
	if err != nil {
		t.Fatal(err)
	}
	makeUpSecrets(&c)
	if c.Listen != ":9000" || c.AdminToken.Reveal() != "mine" || !c.Triggers.AllowPrivate || c.DataDir != "./fanfare-data" || len(c.APIKeys) != 1 {
		t.Errorf("%+v", c)
	}
	d := devDefaults()
	makeUpSecrets(&d)
	if host, _, _ := strings.Cut(d.Listen, ":"); host != "127.0.0.1" || d.AdminToken.Reveal() == "" || d.APIKeys[0].Key.Reveal() == c.APIKeys[0].Key.Reveal() {
		t.Error("made-up secrets must differ, and dev must stay on loopback")
	}
}

func TestBanner(t *testing.T) {
	c := devDefaults()
	c.AdminToken = config.NewSecret("ADMIN")
	c.APIKeys = []config.APIKey{{Key: config.NewSecret("KEY")}}
	text := banner(c, "127.0.0.1:8000")
	c.TLS.Cert, c.SettingsFile, c.OpsListen = "c.pem", "settings.yaml", "127.0.0.1:0"
	c.NATS.URLs = []config.Address{config.NewAddress("nats://a:4222")}
	golden(t, "banner", text+"--- TLS, settings file, external broker\n"+banner(c, "[::]:8443"))
}

func TestLogger(t *testing.T) {
	s := newShell(nil)
	log := s.logger(config.Log{Level: "warn", Format: "json"})
	log.Info("quiet")
	log.Warn("loud")
	if got := s.err.String(); strings.Contains(got, "quiet") || !strings.HasPrefix(got, "{") || !strings.Contains(got, `"loud"`) {
		t.Error(got)
	}
	s = newShell(nil)
	s.logger(config.Log{Level: "info", Format: "text"}).Info("hello")
	if got := s.err.String(); !strings.Contains(got, "msg=hello") {
		t.Error(got)
	}
}
