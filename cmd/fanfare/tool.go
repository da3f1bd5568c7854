package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
	"fanfare/protocol"
)

// The tools talk to a running server over its HTTP API and its socket. Secrets come from the environment or from
// files, never from the command line, which others on the machine can read.

func (p *program) toolCommands() []*cobra.Command {
	return []*cobra.Command{
		p.publishCommand(), p.watchCommand(), p.historyCommand(), p.presenceCommand(), p.channelsCommand(), p.connectionsCommand(),
		p.tokenCommand(), p.explainCommand(), p.importCommand(), p.exportCommand(), p.benchCommand(),
	}
}

// maxInput bounds what a tool reads from a file or a pipe as one thing.
const maxInput = 16 << 20

// serverFlags says where the server is.
func serverFlags(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "configuration file (YAML), for its url, keys and auth; also "+config.EnvFile)
	cmd.Flags().String("url", "", "where the server is (FANFARE_URL; default "+config.Default().URL+")")
}

// apiFlags is for commands that use the server API of one realtime server.
func apiFlags(cmd *cobra.Command) {
	serverFlags(cmd)
	cmd.Flags().String("hash", "demo", "connection hash of the realtime server")
	cmd.Flags().String("key-file", "", "file with the API key (else the first fitting one of FANFARE_API_KEYS; - = standard input)")
}

// adminFlags is for commands that use the settings API.
func adminFlags(cmd *cobra.Command) {
	serverFlags(cmd)
	cmd.Flags().Int64("workspace", 1, "number of the realtime server")
	cmd.Flags().String("token-file", "", "file with the admin token (else FANFARE_ADMIN_TOKEN; - = standard input)")
}

func jsonFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print JSON, one object a line")
}

// toolConfig reads what the tools need of the configuration. The rest of the environment is not looked at: it may
// be that of a server whose files are elsewhere.
func (p *program) toolConfig(cmd *cobra.Command) (config.Config, error) {
	var env []string
	for _, variable := range p.env {
		name, _, _ := strings.Cut(variable, "=")
		switch {
		case slices.Contains([]string{config.EnvFile, "FANFARE_URL", "FANFARE_API_KEYS", "FANFARE_ADMIN_TOKEN"}, name),
			strings.HasPrefix(name, "FANFARE_AUTH_"):
			env = append(env, variable)
		}
	}
	src := config.Source{Env: env, File: text(cmd, "config"), Flags: map[string]string{}}
	if cmd.Flags().Changed("url") {
		src.Flags["url"] = text(cmd, "url")
	}
	return config.Load(src)
}

// api makes a remote for the server API.
func (p *program) api(cmd *cobra.Command, scope config.Scope) (*remote, error) {
	cfg, err := p.toolConfig(cmd)
	if err != nil {
		return nil, err
	}
	r := &remote{base: cfg.URL, prefix: "/api/v1/" + segment(text(cmd, "hash")), hint: "an API key: set FANFARE_API_KEYS or --key-file"}
	if file := text(cmd, "key-file"); file != "" {
		r.token, err = p.secretFile(file)
		return r, err
	}
	for _, key := range cfg.APIKeys {
		if key.Scope.Covers(scope) {
			r.token = key.Key.Reveal()
			return r, nil
		}
	}
	r.token = cfg.AdminToken.Reveal() // opens the server API too
	return r, nil
}

// admin makes a remote for the settings API of one workspace.
func (p *program) admin(cmd *cobra.Command) (*remote, error) {
	cfg, err := p.toolConfig(cmd)
	if err != nil {
		return nil, err
	}
	workspace, err := cmd.Flags().GetInt64("workspace")
	if err != nil {
		return nil, fmt.Errorf("flag workspace: %w", err)
	}
	r := &remote{
		base: cfg.URL, prefix: "/api:meta/workspace/" + strconv.FormatInt(workspace, 10), token: cfg.AdminToken.Reveal(),
		hint: "the admin token: set FANFARE_ADMIN_TOKEN or --token-file",
	}
	if file := text(cmd, "token-file"); file != "" {
		r.token, err = p.secretFile(file)
	}
	return r, err
}

// secretFile reads the first line of a file.
func (p *program) secretFile(name string) (string, error) {
	b, err := p.readInput(name, 64<<10)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", usageError{fmt.Errorf("%s is empty", name)}
	}
	return line, nil
}

// readInput reads a file; - is standard input.
func (p *program) readInput(name string, most int64) ([]byte, error) {
	var in io.Reader = bytes.NewReader(nil)
	if name == "-" {
		if p.stdin != nil {
			in = p.stdin
		}
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("%s: %s", name, reason(err))}
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > most {
		return nil, usageError{fmt.Errorf("%s is larger than %d bytes", name, most)}
	}
	return b, nil
}

// text is the value of a string flag that the command has.
func text(cmd *cobra.Command, name string) string {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// set tells whether a boolean flag is on.
func set(cmd *cobra.Command, name string) bool { return text(cmd, name) == "true" }

// given adds the flags that were set as parameters of a query: name or name=parameter.
func given(cmd *cobra.Command, q url.Values, names ...string) {
	for _, name := range names {
		flag, parameter, renamed := strings.Cut(name, "=")
		if !renamed {
			parameter = strings.ReplaceAll(flag, "-", "_")
		}
		if cmd.Flags().Changed(flag) {
			q.Set(parameter, text(cmd, flag))
		}
	}
}

// interruptible gives a context that a signal ends; stop must be called.
func (p *program) interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-p.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// printer writes lines; the first failure is kept, so that a closed pipe ends a command.
type printer struct {
	w   *bufio.Writer
	err error
}

func (p *program) printer() *printer { return &printer{w: bufio.NewWriter(p.stdout)} }

func (o *printer) line(format string, args ...any) {
	if o.err == nil {
		_, o.err = fmt.Fprintf(o.w, format+"\n", args...)
	}
}

func (o *printer) json(v any) {
	if o.err != nil {
		return
	}
	e := json.NewEncoder(o.w)
	e.SetEscapeHTML(false)
	o.err = e.Encode(v)
}

func (o *printer) flush() error {
	if o.err == nil {
		o.err = o.w.Flush()
	}
	if o.err != nil {
		return fmt.Errorf("print: %w", o.err)
	}
	return nil
}

// plain makes a text from the network safe for a terminal: as it stands when it can be printed, else quoted.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(s)
	}
	return s
}

// compact is a JSON value on one line, safe for a terminal.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return plain(string(raw))
	}
	var out strings.Builder
	for _, r := range b.String() {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// who is a client object for people.
func who(dbo int64, row protocol.RowID) string {
	if dbo == 0 && row == "" {
		return "anonymous"
	}
	return fmt.Sprintf("%d/%s", dbo, plain(row.Text()))
}

// parseData reads JSON from an argument or, when it is - or not there, from standard input. asText takes it as a
// string instead.
func (p *program) parseData(args []string, asText bool) (json.RawMessage, error) {
	arg := "-"
	if len(args) > 0 {
		arg = args[0]
	}
	b := []byte(arg)
	if arg == "-" {
		var err error
		if b, err = p.readInput("-", maxInput); err != nil {
			return nil, err
		}
	}
	return encodeData(b, asText)
}

var errNotJSON = errors.New("the data is not JSON; --text sends it as a string")

func encodeData(b []byte, asText bool) (json.RawMessage, error) {
	if asText {
		out, err := json.Marshal(strings.TrimSuffix(string(b), "\n"))
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		return out, nil
	}
	b = bytes.TrimSpace(b)
	if !json.Valid(b) {
		return nil, usageError{errNotJSON}
	}
	return b, nil
}
