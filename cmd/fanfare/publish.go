package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
)

// event is the body of POST …/events.
type event struct {
	Channel      string          `json:"channel"`
	Data         json.RawMessage `json:"data"`
	DboID        json.RawMessage `json:"dbo_id,omitempty"`
	RowID        string          `json:"row_id,omitempty"`
	Socket       string          `json:"socketId,omitempty"`
	ID           string          `json:"id,omitempty"`
	Store        bool            `json:"store,omitempty"`
	ExpectOffset string          `json:"expect_offset,omitempty"`
}

type eventReceipt struct {
	ID        string  `json:"id"`
	Offset    *string `json:"offset"`
	Stored    bool    `json:"stored"`
	Duplicate bool    `json:"duplicate,omitempty"`
}

func (p *program) publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish CHANNEL [DATA]",
		Short: "Send an event to a channel, as a back end does",
		Long: `Sends an event to everybody on a channel, or to one user or socket. DATA is JSON; without it, or with -, the data
is read from standard input.

Ends with 3 when the server refuses, for example because --expect-offset is no longer the newest offset.`,
		Example: `  fanfare publish room1 '{"text":"hello"}'
  fanfare publish room1 --text "hello" --store
  fanfare publish orders/7 '{"state":"paid"}' --id paid-7          once, however often it is sent within 30 s
  fanfare publish room1 '{"you":"only"}' --dbo-id 17 --row-id 3    to all sockets of one user
  tail -f events.jsonl | fanfare publish room1 --lines`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: p.completeChannels,
		RunE:              p.action(p.publish),
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	flags := cmd.Flags()
	flags.Bool("text", false, "the data is plain text and sent as a JSON string")
	flags.Bool("lines", false, "every line of standard input is an event of its own")
	flags.Bool("store", false, "keep the event in the channel's history")
	flags.String("id", "", "the same id within 30 seconds is stored and delivered once")
	flags.String("expect-offset", "", "publish only if this is the channel's newest stored offset")
	flags.Int64("dbo-id", 0, "table of the user who gets it")
	flags.String("row-id", "", "row of the user who gets it")
	flags.String("socket", "", "the one socket that gets it")
	cmd.MarkFlagsRequiredTogether("dbo-id", "row-id")
	cmd.MarkFlagsMutuallyExclusive("row-id", "socket")
	cmd.MarkFlagsMutuallyExclusive("lines", "id")
	cmd.MarkFlagsMutuallyExclusive("lines", "expect-offset")
	return cmd
}

func (p *program) publish(cmd *cobra.Command, args []string) error {
	r, err := p.api(cmd, config.ScopePublish)
	if err != nil {
		return err
	}
	e := event{
		Channel: args[0], RowID: text(cmd, "row-id"), Socket: text(cmd, "socket"), ID: text(cmd, "id"),
		Store: set(cmd, "store"), ExpectOffset: text(cmd, "expect-offset"),
	}
	if cmd.Flags().Changed("dbo-id") {
		e.DboID = json.RawMessage(text(cmd, "dbo-id"))
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	if set(cmd, "lines") {
		if len(args) > 1 {
			return usageError{fmt.Errorf("--lines reads standard input, and DATA is given too")}
		}
		return p.publishLines(ctx, cmd, r, e)
	}
	if e.Data, err = p.parseData(args[1:], set(cmd, "text")); err != nil {
		return err
	}
	return p.publishOne(ctx, cmd, r, e)
}

func (p *program) publishOne(ctx context.Context, cmd *cobra.Command, r *remote, e event) error {
	var receipt eventReceipt
	if _, err := r.call(ctx, http.MethodPost, "/events", nil, e, &receipt); err != nil {
		return err
	}
	out := p.printer()
	switch {
	case set(cmd, "json"):
		out.json(receipt)
	case receipt.Duplicate:
		out.line("%s was published before", plain(receipt.ID))
	case receipt.Offset != nil:
		out.line("%s stored at %s", plain(receipt.ID), plain(*receipt.Offset))
	default:
		out.line("%s sent", plain(receipt.ID))
	}
	return out.flush()
}

// publishLines sends one line after the other, so that their order is kept and the first failure ends it.
func (p *program) publishLines(ctx context.Context, cmd *cobra.Command, r *remote, e event) error {
	if p.stdin == nil {
		return nil
	}
	in := bufio.NewScanner(p.stdin)
	in.Buffer(make([]byte, 0, 64<<10), maxInput)
	asText := set(cmd, "text")
	for n := 1; in.Scan(); n++ {
		line := in.Bytes()
		if !asText && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var err error
		if e.Data, err = encodeData(line, asText); err == nil {
			err = p.publishOne(ctx, cmd, r, e)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return nil
}

// completeChannels offers channels with somebody on them.
func (p *program) completeChannels(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r, err := p.api(cmd, config.ScopeRead)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	var names []string
	_ = pages(ctx, r, "/channels", map[string][]string{"prefix": {prefix}}, 100, func(c channelState) {
		if !strings.ContainsAny(c.Channel, "\n\t") {
			names = append(names, c.Channel)
		}
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
