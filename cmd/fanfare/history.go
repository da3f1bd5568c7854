package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
)

// pageLimit is the most that one answer of the API holds by default.
const pageLimit = 1000

// historyFrame is a stored frame, as far as the tools look at it.
type historyFrame struct {
	Action  string `json:"action"`
	Options struct {
		Channel string `json:"channel"`
		Source  string `json:"source"`
		ID      string `json:"id"`
		Offset  string `json:"offset"`
	} `json:"options"`
	Client  *clientObject   `json:"client"`
	Payload json.RawMessage `json:"payload"`
}

func (p *program) historyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history CHANNEL",
		Short: "Print stored messages of a channel, oldest first",
		Long: `Prints what is stored of a channel, or below a pattern such as chat/*: the offset, the sender as table/row, the
message. With --before the nearest older ones, with --after and --since the oldest newer ones, else the latest. When
there are more in that direction, the last line on standard error says so.`,
		Example: `  fanfare history room1 --limit 20
  fanfare history room1 --before 1234
  fanfare history room1 --since 2026-01-02T15:04:05Z --limit 5000 --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeChannels,
		RunE:              p.action(p.history),
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	flags := cmd.Flags()
	flags.Int("limit", 100, "at most so many")
	flags.String("before", "", "only those before this offset")
	flags.String("after", "", "only those after this offset")
	flags.String("since", "", "only those since this time (RFC 3339 or Unix milliseconds)")
	cmd.MarkFlagsMutuallyExclusive("before", "after")
	cmd.MarkFlagsMutuallyExclusive("before", "since")
	return cmd
}

func (p *program) history(cmd *cobra.Command, args []string) error {
	r, err := p.api(cmd, config.ScopeRead)
	if err != nil {
		return err
	}
	most, err := limit(cmd)
	if err != nil {
		return err
	}
	if most == 0 {
		return usageError{errLimit}
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	query := url.Values{}
	given(cmd, query, "before", "after", "since")
	frames, more, err := readHistory(ctx, r, args[0], query, most)
	if err != nil {
		return err
	}
	out := p.printer()
	for _, raw := range frames {
		if set(cmd, "json") {
			out.json(raw)
		} else {
			out.line("%s", historyLine(raw))
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if more {
		p.printErr("there is more")
	}
	return nil
}

// readHistory pages through the history until it has most frames or all.
func readHistory(ctx context.Context, r *remote, channel string, query url.Values, most int) (frames []json.RawMessage, more bool, err error) {
	newer := query.Has("after") || query.Has("since")
	for {
		query.Set("limit", strconv.Itoa(min(most-len(frames), pageLimit)))
		var page struct {
			Items []json.RawMessage `json:"items"`
			More  bool              `json:"more"`
		}
		if _, err := r.call(ctx, http.MethodGet, "/channels/"+segment(channel)+"/history", query, nil, &page); err != nil {
			return nil, false, err
		}
		if newer {
			frames = append(frames, page.Items...)
		} else {
			frames = append(slices.Clip(page.Items), frames...)
		}
		if !page.More || len(page.Items) == 0 || len(frames) >= most {
			return frames, page.More, nil
		}
		// On from the far end of the page.
		at, name := page.Items[0], "before"
		if newer {
			at, name = page.Items[len(page.Items)-1], "after"
		}
		var f historyFrame
		if err := json.Unmarshal(at, &f); err != nil || f.Options.Offset == "" {
			return nil, false, fmt.Errorf("the server sent a stored message without an offset")
		}
		if f.Options.Source != "" {
			return frames, true, nil // a pattern's offsets are those of many channels and cannot be gone on from
		}
		query.Del("since")
		query.Set(name, f.Options.Offset)
	}
}

func historyLine(raw json.RawMessage) string {
	var f historyFrame
	if json.Unmarshal(raw, &f) != nil {
		return compact(raw)
	}
	sender, data := "event", f.Payload
	if f.Client != nil {
		sender = who(f.Client.Permissions.DboID, f.Client.Permissions.RowID)
	} else {
		var p struct {
			Data json.RawMessage `json:"data"`
		}
		if json.Unmarshal(f.Payload, &p) == nil {
			data = p.Data
		}
	}
	line := fmt.Sprintf("#%s  %s  %s", plain(f.Options.Offset), sender, compact(data))
	if f.Options.Source != "" {
		line = plain(f.Options.Source) + "  " + line
	}
	return line
}
