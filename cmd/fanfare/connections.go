package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
	"fanfare/protocol"
)

// connection is how a socket stands, as far as it is printed.
type connection struct {
	Socket      string `json:"socketId"`
	State       string `json:"state"`
	Permissions struct {
		DboID int64          `json:"dbo_id"`
		RowID protocol.RowID `json:"row_id"`
	} `json:"permissions"`
	Connected time.Time  `json:"connected"`
	Closed    *time.Time `json:"closed"`
	Backlog   int        `json:"backlog_bytes"`
	Channels  []struct {
		Channel string `json:"channel"`
		Stored  bool   `json:"stored"`
		Offset  string `json:"offset"`
	} `json:"channels"`
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

var errTwoPlaces = errors.New("name a socket or a user, not both")

func (p *program) connectionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connections [SOCKET]",
		Short: "Say how sockets stand, or stood when they ended: why did somebody not get a message?",
		Long: `Lists sockets of all gateways that are open, and those that ended last: the user as table/row, the backlog, the
channels with the offset up to which each was delivered, and why it ended. Each gateway remembers about a thousand sockets that went by
themselves and as many that it ended.`,
		Example: `  fanfare connections --dbo-id 5 --row-id 17
  fanfare connections --channel room1 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: p.action(p.connections),
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	flags := cmd.Flags()
	flags.Int64("dbo-id", 0, "table of the user")
	flags.String("row-id", "", "row of the user")
	flags.String("channel", "", "sockets that are on it, or were")
	flags.Int("limit", 0, "at most so many (0 = all)")
	return cmd
}

func (p *program) connections(cmd *cobra.Command, args []string) error {
	query := url.Values{"limit": {"200"}}
	given(cmd, query, "dbo-id", "row-id", "channel")
	if len(args) > 0 {
		if query.Has("dbo_id") || query.Has("row_id") {
			return usageError{errTwoPlaces}
		}
		query.Set("socketId", args[0])
	}
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
	for seen := 0; ; {
		var page struct {
			Items      []json.RawMessage `json:"items"`
			Next       *string           `json:"next"`
			Unanswered []string          `json:"unanswered"`
		}
		if _, err := r.call(ctx, http.MethodGet, "/connections", query, nil, &page); err != nil {
			return err
		}
		for _, raw := range page.Items {
			if most > 0 && seen == most {
				return out.flush()
			}
			seen++
			var c connection
			if set(cmd, "json") || json.Unmarshal(raw, &c) != nil {
				out.json(raw)
				continue
			}
			out.line("%s", c.line(time.Now()))
		}
		if page.Next == nil || len(page.Items) == 0 {
			for _, gateway := range page.Unanswered {
				p.printErr("gateway " + plain(gateway) + " did not answer; it may have more")
			}
			return out.flush()
		}
		query.Set("cursor", *page.Next)
	}
}

// line is a socket for people.
func (c *connection) line(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s", plain(c.Socket), who(c.Permissions.DboID, c.Permissions.RowID), plain(c.State))
	if c.Closed == nil {
		fmt.Fprintf(&b, " for %s", now.Sub(c.Connected).Round(time.Second))
	} else {
		fmt.Fprintf(&b, " %s ago after %s: %s", now.Sub(*c.Closed).Round(time.Second), c.Closed.Sub(c.Connected).Round(time.Second), plain(c.Reason))
		if c.Code != 0 {
			fmt.Fprintf(&b, " (%d)", c.Code)
		}
	}
	if c.Backlog > 0 {
		fmt.Fprintf(&b, "  backlog %d bytes", c.Backlog)
	}
	for _, m := range c.Channels {
		fmt.Fprintf(&b, "  %s", plain(m.Channel))
		if m.Stored {
			fmt.Fprintf(&b, "@%s", plain(m.Offset))
		}
	}
	return b.String()
}
