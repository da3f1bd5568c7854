package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
	"fanfare/internal/policy"
)

func (p *program) explainCommand() *cobra.Command {
	var ops []string
	for _, op := range policy.Ops() {
		ops = append(ops, string(op))
	}
	cmd := &cobra.Command{
		Use:   "explain CHANNEL [OPERATION]",
		Short: "Say whether somebody may do something on a channel, and which rule and flag decide",
		Long: `Asks a running server what its rules say, without doing anything. Without --dbo-id, --row-id or --authenticated the
client is anonymous. Ends with 0 when it is allowed and with 3 when it is not.`,
		Example: `  fanfare explain chat/sports
  fanfare explain room1 send --dbo-id 17 --row-id 3`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return ops, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completeChannels(cmd, args, prefix)
		},
		RunE: p.action(p.explain),
	}
	cmd.Long += "\n\nOperations:"
	for _, op := range ops {
		cmd.Long += " " + op
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	flags := cmd.Flags()
	flags.Int64("dbo-id", 0, "table of the user")
	flags.String("row-id", "", "row of the user")
	flags.Bool("authenticated", false, "some authenticated user")
	flags.Bool("target-authenticated", false, "whether the recipient of a private message is authenticated")
	return cmd
}

func (p *program) explain(cmd *cobra.Command, args []string) error {
	query := url.Values{"channel": {args[0]}}
	if len(args) > 1 {
		if !slices.Contains(policy.Ops(), policy.Op(args[1])) {
			return usageError{fmt.Errorf("unknown operation %s: use one of %v", plain(args[1]), policy.Ops())}
		}
		query.Set("op", args[1])
	}
	given(cmd, query, "dbo-id", "row-id", "authenticated", "target-authenticated")
	r, err := p.api(cmd, config.ScopeRead)
	if err != nil {
		return err
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	var answer map[string]any
	if _, err := r.call(ctx, http.MethodGet, "/explain", query, nil, &answer); err != nil {
		return err
	}
	allowed, _ := answer["allowed"].(bool)
	reason, _ := answer["text"].(string)
	out := p.printer()
	if set(cmd, "json") {
		out.json(answer)
	} else {
		verdict := "no"
		if allowed {
			verdict = "yes"
		}
		out.line("%s: %s", verdict, plain(reason))
		if rule, ok := answer["rule"].(map[string]any); ok {
			target, _ := rule["pattern"].(string)
			if nested, _ := rule["wildcard"].(bool); nested {
				target += "/*"
			}
			out.line("rule: %s", plain(target))
		}
		if flag, _ := answer["flag"].(string); flag != "" {
			out.line("decided by: %s", plain(flag))
		}
		if code, _ := answer["code"].(string); code != "" {
			out.line("a client gets: %s", plain(code))
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if !allowed {
		return denied{}
	}
	return nil
}

// denied makes the exit code say no after the answer was printed.
type denied struct{}

func (denied) Error() string { return "" }
