package main

import (
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
)

// completionTimeout bounds what a shell waits for when somebody presses Tab.
const completionTimeout = 2 * time.Second

type channelState struct {
	Channel   string `json:"channel"`
	Occupancy int    `json:"occupancy"`
}

func (p *program) channelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "channels [CHANNEL...]",
		Short: "List channels with somebody on them, or say how many are on the given ones",
		Example: `  fanfare channels
  fanfare channels --prefix chat/
  fanfare channels room1 room2 --json`,
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
			query := url.Values{"limit": {"1000"}}
			given(cmd, query, "prefix")
			if len(args) > 0 {
				query = url.Values{"channel": args}
			}
			out := p.printer()
			if err := pages(ctx, r, "/channels", query, most, func(c channelState) {
				if set(cmd, "json") {
					out.json(c)
				} else {
					out.line("%7d  %s", c.Occupancy, plain(c.Channel))
				}
			}); err != nil {
				return err
			}
			return out.flush()
		}),
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	cmd.Flags().String("prefix", "", "only channels whose name begins like this")
	cmd.Flags().Int("limit", 0, "at most so many (0 = all)")
	return cmd
}

// limit is the value of --limit.
func limit(cmd *cobra.Command) (int, error) {
	n, err := strconv.Atoi(text(cmd, "limit"))
	if err != nil || n < 0 {
		return 0, usageError{errLimit}
	}
	return n, nil
}
