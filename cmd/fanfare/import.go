package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"fanfare/internal/policy"
	"fanfare/internal/xanoscript"
	"fanfare/protocol"
)

// realtimeJSON is all settings of one realtime server, as Xano has them.
type realtimeJSON struct {
	Enabled  *bool         `json:"enabled,omitempty"`
	Hash     *string       `json:"hash,omitempty"`
	Channels []policy.Rule `json:"channels"`
}

func (p *program) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Put channel rules from Xano's settings JSON or script form into a server",
		Long: `Reads channel rules from a file (- = standard input): Xano's realtime settings as JSON, a list of rules as JSON, or
blocks realtime_channel of Xano's script form.

Settings as JSON replace all rules of the realtime server, and its hash and status where the file names them; rules
alone are added to those that are there, each in the place of the one with the same target. --replace and --merge say
otherwise. Nothing is changed while somebody else changes the settings at the same time: then it ends with 3.`,
		Example: `  fanfare import settings.json --dry-run
  fanfare import chat.xs
  cat *.xs | fanfare import - --replace`,
		Args: cobra.ExactArgs(1),
		RunE: p.action(p.importRules),
	}
	adminFlags(cmd)
	flags := cmd.Flags()
	flags.String("format", "auto", "auto, json or script")
	flags.Bool("replace", false, "remove rules that the file does not have")
	flags.Bool("merge", false, "keep rules that the file does not have")
	flags.Bool("channels-only", false, "leave hash and status as they are")
	flags.Bool("dry-run", false, "say what would change and change nothing")
	cmd.MarkFlagsMutuallyExclusive("replace", "merge")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"auto", "json", "script"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// imported is what a file holds.
type imported struct {
	settings realtimeJSON
	// whole: the file holds the settings of a server, not rules alone.
	whole bool
	// script: the rules cannot hold the fields that only Fanfare has.
	script bool
}

func (p *program) importRules(cmd *cobra.Command, args []string) error {
	content, err := p.readInput(args[0], maxInput)
	if err != nil {
		return err
	}
	file, err := p.parseImport(args[0], text(cmd, "format"), content)
	if err != nil {
		return err
	}
	r, err := p.admin(cmd)
	if err != nil {
		return err
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	var before realtimeJSON
	header, err := r.call(ctx, http.MethodGet, "/realtime", nil, nil, &before)
	if err != nil {
		return err
	}
	merge := !file.whole
	if set(cmd, "merge") || set(cmd, "replace") {
		merge = set(cmd, "merge")
	}
	after, changes := combine(before, file, merge)
	if set(cmd, "channels-only") || !file.whole {
		after.Enabled, after.Hash = nil, nil
	} else {
		changes.server(before, after)
	}
	out := p.printer()
	changes.print(out)
	if set(cmd, "dry-run") {
		out.line("nothing was changed")
		return out.flush()
	}
	if len(changes.lines) > 0 {
		if _, err := r.call(ctx, http.MethodPut, "/realtime", nil, after, nil, "If-Match", header.Get("ETag")); err != nil {
			return err
		}
	}
	return out.flush()
}

// parseImport reads a file in one of the formats.
func (p *program) parseImport(name, format string, content []byte) (imported, error) {
	if name = filepath.Base(name); name == "-" {
		name = "standard input"
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	start := bytes.TrimLeft(content, " \t\r\n")
	switch {
	case format == "auto" && (bytes.HasPrefix(start, []byte("{")) || bytes.HasPrefix(start, []byte("["))):
		format = "json"
	case format == "auto":
		format = "script"
	}
	bad := func(err error) (imported, error) {
		return imported{}, usageError{fmt.Errorf("%s: %w", name, err)}
	}
	switch format {
	case "json":
		return parseImportJSON(start, bad)
	case "script":
		script, err := xanoscript.Parse(content)
		if err != nil {
			return bad(err)
		}
		for _, note := range script.Notes {
			p.printErr(fmt.Sprintf("fanfare: %s: %s", name, note))
		}
		if len(script.Rules) == 0 {
			return bad(errors.New("no realtime_channel in it"))
		}
		return imported{settings: realtimeJSON{Channels: script.Rules}, script: true}, nil
	}
	return imported{}, usageError{fmt.Errorf("--format must be auto, json or script, not %q", format)}
}

func parseImportJSON(content []byte, bad func(error) (imported, error)) (imported, error) {
	var in imported
	if content[0] == '[' {
		content = append(append([]byte(`{"channels":`), content...), '}')
	} else {
		in.whole = true
	}
	// policy decodes as the server does, so that the field that is wrong is named here.
	s, err := policy.DecodeServer(content, policy.Server{})
	if err != nil {
		return bad(err)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(content, &given); err != nil {
		return bad(err)
	}
	if given["channels"] == nil {
		return bad(errors.New("no channels in it"))
	}
	in.settings.Channels = s.Channels
	if given["enabled"] != nil {
		in.settings.Enabled = &s.Enabled
	}
	if given["hash"] != nil {
		in.settings.Hash = &s.Hash
	}
	return in, nil
}

// changes lists what an import does, for people.
type changes struct {
	lines     []string
	unchanged int
}

func (c *changes) add(sign string, what any) {
	c.lines = append(c.lines, fmt.Sprintf("%s %s", sign, what))
}

// server notes changes of the address and the status.
func (c *changes) server(before, after realtimeJSON) {
	if after.Hash != nil && (before.Hash == nil || *before.Hash != *after.Hash) {
		c.add("~", "hash: clients of the old address are sent away")
	}
	if after.Enabled != nil && (before.Enabled == nil || *before.Enabled != *after.Enabled) {
		c.add("~", fmt.Sprintf("enabled: %t", *after.Enabled))
	}
}

func (c *changes) print(out *printer) {
	for _, line := range c.lines {
		out.line("%s", line)
	}
	counts := map[byte]int{}
	for _, line := range c.lines {
		counts[line[0]]++
	}
	out.line("%d added, %d changed, %d removed, %d as before", counts['+'], counts['~'], counts['-'], c.unchanged)
}

// combine gives the settings after an import.
func combine(before realtimeJSON, file imported, merge bool) (realtimeJSON, changes) {
	after := realtimeJSON{Enabled: file.settings.Enabled, Hash: file.settings.Hash, Channels: []policy.Rule{}}
	var done changes
	fresh := map[protocol.Channel]*policy.Rule{}
	for i := range file.settings.Channels {
		fresh[target(&file.settings.Channels[i])] = &file.settings.Channels[i]
	}
	used := map[protocol.Channel]bool{}
	for i := range before.Channels {
		old := before.Channels[i]
		name := target(&old)
		next := fresh[name]
		switch {
		case next == nil && merge:
			after.Channels = append(after.Channels, old)
			done.unchanged++
			continue
		case next == nil:
			done.add("-", plain(string(name)))
			continue
		}
		used[name] = true
		rule := *next
		rule.Pattern, rule.Wildcard = old.Pattern, old.Wildcard
		if rule.ID == 0 {
			rule.ID = old.ID
		}
		if file.script { // what the script form cannot say stays
			rule.HistoryTTL, rule.PatternJoin, rule.Triggers, rule.RateLimit = old.HistoryTTL, old.PatternJoin, old.Triggers, old.RateLimit
		}
		after.Channels = append(after.Channels, rule)
		if fields := differing(&old, &rule); len(fields) > 0 {
			done.add("~", plain(string(name))+": "+strings.Join(fields, ", "))
		} else {
			done.unchanged++
		}
	}
	for i := range file.settings.Channels {
		rule := &file.settings.Channels[i]
		if name := target(rule); !used[name] {
			after.Channels = append(after.Channels, *rule)
			done.add("+", plain(string(name)))
		}
	}
	return after, done
}

// target is what a rule covers, also when its pattern is written chat/*.
func target(r *policy.Rule) protocol.Channel {
	if !r.Wildcard || protocol.Channel(r.Pattern).IsPattern() {
		return protocol.Channel(r.Pattern)
	}
	return r.Target()
}

// differing names the fields in which two rules are not the same.
func differing(a, b *policy.Rule) []string {
	x, y := members(a), members(b)
	var out []string
	for _, name := range sortedKeys(x, y) {
		if !reflect.DeepEqual(x[name], y[name]) {
			out = append(out, name)
		}
	}
	return out
}
