package main

import (
	"encoding/json"
	"errors"
	"net/url"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
	"fanfare/protocol"
)

var errLimit = errors.New("--limit must be a positive number")

// clientObject is a presence entry, and the sender of a message.
type clientObject struct {
	Socket      string          `json:"socketId"`
	Extras      json.RawMessage `json:"extras"`
	Permissions struct {
		DboID int64          `json:"dbo_id"`
		RowID protocol.RowID `json:"row_id"`
	} `json:"permissions"`
	Data   json.RawMessage `json:"data,omitempty"`
	Source string          `json:"source,omitempty"`
}

func (p *program) presenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "presence CHANNEL",
		Short: "Say who is on a channel, or below a pattern such as chat/*",
		Long: `Lists the sockets on a channel: the socket's id, its user as table/row, what the token says about the user, and
what the client says about itself.`,
		Example: `  fanfare presence room1
  fanfare presence 'chat/*' --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeChannels,
		RunE: p.action(func(cmd *cobra.Command, args []string) error {
			r, err := p.api(cmd, config.ScopeRead)
			if err != nil {
				return err
			}
			most, err := limit(cmd)
			if err != nil {
				return err
			}
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			out := p.printer()
			query := url.Values{"limit": {"1000"}}
			if err := pages(ctx, r, "/channels/"+segment(args[0])+"/presence", query, most, func(raw json.RawMessage) {
				if set(cmd, "json") {
					out.json(raw)
					return
				}
				var c clientObject
				if json.Unmarshal(raw, &c) != nil {
					out.line("%s", compact(raw))
					return
				}
				out.line("%s", c.line())
			}); err != nil {
				return err
			}
			return out.flush()
		}),
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	cmd.Flags().Int("limit", 0, "at most so many (0 = all)")
	return cmd
}

// line is an entry for people.
func (c *clientObject) line() string {
	line := plain(c.Socket) + "  " + who(c.Permissions.DboID, c.Permissions.RowID)
	if c.Source != "" {
		line = plain(c.Source) + "  " + line
	}
	if extras := compact(c.Extras); extras != "{}" && extras != `""` {
		line += "  " + extras
	}
	if len(c.Data) > 0 {
		line += "  data " + compact(c.Data)
	}
	return line
}
