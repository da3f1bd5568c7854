package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fanfare/internal/policy"
	"fanfare/internal/xanoscript"
)

func (p *program) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the channel rules of a server as Xano's settings JSON or script form",
		Long: `Prints the settings of a realtime server: as JSON everything, as script its channel rules without the fields that only
Fanfare has. Secrets of triggers are masked unless --secrets asks for them; what import gets back masked stays as it is.`,
		Example: `  fanfare export > settings.json
  fanfare export --format script --out channels.xs`,
		Args: cobra.NoArgs,
		RunE: p.action(p.export),
	}
	adminFlags(cmd)
	flags := cmd.Flags()
	flags.String("format", "json", "json or script")
	flags.String("out", "", "file to write, only readable by its owner (default standard output)")
	flags.Bool("secrets", false, "with the secrets of triggers")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"json", "script"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (p *program) export(cmd *cobra.Command, _ []string) error {
	format := text(cmd, "format")
	if format != "json" && format != "script" {
		return usageError{fmt.Errorf("--format must be json or script, not %q", format)}
	}
	r, err := p.admin(cmd)
	if err != nil {
		return err
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	query := url.Values{}
	if set(cmd, "secrets") {
		query.Set("include_secrets", "true")
	}
	var raw json.RawMessage
	if _, err := r.call(ctx, http.MethodGet, "/realtime", query, nil, &raw); err != nil {
		return err
	}
	var b bytes.Buffer
	if format == "json" {
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return fmt.Errorf("%s does not answer like Fanfare: %w", r.base, err)
		}
		b.WriteByte('\n')
	} else if err := p.script(&b, raw); err != nil {
		return err
	}
	if name := text(cmd, "out"); name != "" {
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			return fmt.Errorf("%s: %w", name, errors.New(reason(err)))
		}
		return nil
	}
	out := p.printer()
	_, out.err = out.w.Write(b.Bytes())
	return out.flush()
}

// script writes rules in script form and says what it cannot hold.
func (p *program) script(b *bytes.Buffer, raw json.RawMessage) error {
	var settings realtimeJSON
	if err := json.Unmarshal(raw, &settings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	b.Write(xanoscript.Format(settings.Channels))
	for i := range settings.Channels {
		rule := &settings.Channels[i]
		if lost := xanoscript.Lost(rule); len(lost) > 0 {
			p.printErr(fmt.Sprintf("fanfare: %s: the script form does not have %s", plain(string(rule.Target())), strings.Join(lost, ", ")))
		}
	}
	return nil
}

// members are the fields of a rule by their names in JSON.
func members(r *policy.Rule) map[string]any {
	out := map[string]any{}
	b, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		out[""] = err
	}
	return out
}

func sortedKeys(rules ...map[string]any) []string {
	all := map[string]bool{}
	for _, m := range rules {
		for name := range m {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
