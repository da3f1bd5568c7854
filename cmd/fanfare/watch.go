package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"fanfare/client"
	"fanfare/protocol"
)

func (p *program) watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch CHANNEL...",
		Short: "Print what happens on channels or patterns as it happens",
		Long: `Opens channels as a client and prints every message, event and change until it is interrupted. It comes back by
itself after a lost connection; where something may have been missed, a line says so. The channel's rule decides what
it may see: it is an anonymous client, unless --user-token-file names a token or --dbo-id and --row-id make one with
the secret of the configuration (auth.jwt_secret or auth.jwe_key). A pattern needs a rule with pattern_join.`,
		Example: `  fanfare watch room1
  fanfare watch 'chat/*' room1 --presence
  fanfare watch room1 --dbo-id 17 --row-id 3
  fanfare watch room1 --count 1 --timeout 10s --json     wait for one message`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: p.completeChannels,
		RunE:              p.action(p.watch),
	}
	apiFlags(cmd)
	jsonFlag(cmd)
	identityFlags(cmd)
	flags := cmd.Flags()
	flags.String("user-token-file", "", "file with the token of the user to watch as (- = standard input)")
	flags.Bool("presence", false, "members and their changes too")
	flags.Bool("history", false, "the latest stored messages first")
	flags.Int("count", 0, "end after so many messages (0 = never)")
	flags.Duration("timeout", 0, "end with 1 when nothing more came for so long (0 = never)")
	cmd.MarkFlagsMutuallyExclusive("user-token-file", "row-id")
	_ = cmd.Flags().MarkHidden("key-file") // for completion only
	return cmd
}

func (p *program) watch(cmd *cobra.Command, channels []string) error {
	cfg, err := p.toolConfig(cmd)
	if err != nil {
		return err
	}
	o := client.Options{}
	switch {
	case text(cmd, "user-token-file") != "":
		token, err := p.secretFile(text(cmd, "user-token-file"))
		if err != nil {
			return err
		}
		o.Token = func(context.Context) (string, error) { return token, nil }
	case cmd.Flags().Changed("row-id") || cmd.Flags().Changed("dbo-id"):
		if _, err := p.mintToken(cmd, cfg); err != nil {
			return err
		}
		o.Token = func(context.Context) (string, error) { return p.mintToken(cmd, cfg) } // a fresh one each time
	}
	count, err := strconv.Atoi(text(cmd, "count"))
	if err != nil || count < 0 {
		return usageError{errors.New("--count must be a positive number")}
	}
	timeout, err := cmd.Flags().GetDuration("timeout")
	if err != nil || timeout < 0 {
		return usageError{errors.New("--timeout must be a positive duration")}
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	address := "ws" + strings.TrimPrefix(strings.TrimSuffix(cfg.URL, "/"), "http") + "/rt/" + segment(text(cmd, "hash"))
	c, err := client.Dial(ctx, address, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return unreachable(cfg.URL, err)
	}
	defer func() { _ = c.Close() }()
	tap := &tap{
		out: p.printer(), asJSON: set(cmd, "json"), left: count, counted: count > 0,
		options: client.ChannelOptions{Presence: set(cmd, "presence"), History: set(cmd, "history")},
	}
	return tap.run(ctx, c, channels, timeout)
}

// tap prints the events of channels.
type tap struct {
	asJSON  bool
	options client.ChannelOptions

	mu      sync.Mutex
	out     *printer
	left    int
	counted bool
}

var (
	errEnough  = errors.New("enough messages")
	errTimeout = errors.New("nothing came in time")
)

// run joins the channels and prints until ctx ends or something fails.
func (t *tap) run(ctx context.Context, c *client.Client, channels []string, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The timer runs anew with each event.
	timer := time.AfterFunc(time.Hour, func() { cancel(errTimeout) })
	defer timer.Stop()
	if timeout > 0 {
		timer.Reset(timeout)
	} else {
		timer.Stop()
	}
	var wg sync.WaitGroup
	seen := map[string]bool{}
	for _, name := range channels {
		if seen[name] {
			continue
		}
		seen[name] = true
		ch := c.Channel(name, t.options)
		if err := ch.Join(ctx); err != nil {
			cancel(fmt.Errorf("%s: %w", plain(name), joinError(err)))
			break
		}
		wg.Go(func() {
			for e, err := range ch.Events(ctx) {
				if err == nil {
					if timeout > 0 {
						timer.Reset(timeout)
					}
					err = t.event(name, e)
				}
				if err != nil {
					cancel(fmt.Errorf("%s: %w", plain(name), joinError(err)))
					return
				}
			}
		})
	}
	wg.Wait()
	if len(seen) > 0 {
		<-ctx.Done()
	}
	switch err := context.Cause(ctx); {
	case errors.Is(err, errTimeout):
		return errTimeout
	case errors.Is(err, errEnough), errors.Is(err, context.Canceled):
		return nil
	default:
		return err
	}
}

// joinError makes a refusal by the server one for the exit code.
func joinError(err error) error {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return &refusal{Code: string(e.Code), Message: e.Message}
	}
	return err
}

// tapLine is one event as JSON.
type tapLine struct {
	Time    string                  `json:"time"`
	Type    string                  `json:"type"`
	Channel string                  `json:"channel"`
	ID      string                  `json:"id,omitempty"`
	Offset  string                  `json:"offset,omitempty"`
	Client  *clientObject           `json:"client,omitempty"`
	To      string                  `json:"to,omitempty"`
	Reason  string                  `json:"reason,omitempty"`
	Data    json.RawMessage         `json:"data,omitempty"`
	Members []clientObject          `json:"members,omitempty"`
	Action  protocol.PresenceAction `json:"action,omitempty"`
}

func (t *tap) event(channel string, event client.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch e := event.(type) {
	case *client.Message:
		t.message(now, e)
		if t.left--; t.counted && t.left <= 0 {
			if err := t.out.flush(); err != nil {
				return err
			}
			return errEnough
		}
	case *client.History:
		for _, m := range e.Messages {
			t.message(now, m)
		}
	case *client.PresenceList:
		line := tapLine{Type: "presence", Channel: channel, Members: []clientObject{}}
		for i := range e.Members {
			line.Members = append(line.Members, object(&e.Members[i]))
		}
		t.print(now, &line, func() string { return fmt.Sprintf("%d here", len(e.Members)) })
		if !t.asJSON {
			for i := range line.Members {
				t.out.line("%*s %s", len(clock), "", line.Members[i].line())
			}
		}
	case *client.PresenceChange:
		member := object(&e.Member)
		t.print(now, &tapLine{Type: "presence_change", Channel: channel, Action: e.Action, Client: &member}, func() string {
			return string(e.Action) + " " + member.line()
		})
	case *client.Joined:
		self := object(&e.Self)
		t.print(now, &tapLine{Type: "joined", Channel: channel, Client: &self}, func() string { return "joined as " + plain(e.Self.Socket) })
	case *client.Disconnected:
		t.print(now, &tapLine{Type: "disconnected", Channel: channel, Reason: e.Err.Error()}, func() string { return "connection lost, coming back" })
	case *client.Gap:
		t.print(now, &tapLine{Type: "gap", Channel: channel, Reason: string(e.Reason)}, func() string {
			return "messages may be missing here (" + string(e.Reason) + ")"
		})
	case *client.Failure:
		t.print(now, &tapLine{Type: "error", Channel: channel, Reason: e.Err.Error()}, func() string { return "error: " + plain(e.Err.Error()) })
	}
	return t.out.flush()
}

func (t *tap) message(now time.Time, m *client.Message) {
	line := tapLine{Type: "message", Channel: m.Channel, ID: m.ID, To: m.To, Data: m.Data}
	sender := "event"
	if m.Kind == protocol.KindEvent {
		line.Type = "event"
	} else if m.Sender != nil {
		o := object(m.Sender)
		line.Client = &o
		sender = who(m.Sender.DboID, m.Sender.RowID) + " " + plain(m.Sender.Socket)
	}
	offset := ""
	if m.Offset > 0 {
		line.Offset = strconv.FormatUint(m.Offset, 10)
		offset = "#" + line.Offset + " "
	}
	t.print(now, &line, func() string { return offset + sender + "  " + compact(m.Data) })
}

const clock = "15:04:05.000"

func (t *tap) print(now time.Time, line *tapLine, words func() string) {
	if t.asJSON {
		line.Time = now.UTC().Format(time.RFC3339Nano)
		t.out.json(line)
		return
	}
	t.out.line("%s %s  %s", now.Format(clock), plain(line.Channel), words())
}

func object(m *client.Member) clientObject {
	o := clientObject{Socket: m.Socket, Extras: m.Extras, Data: m.Data, Source: m.Source}
	o.Permissions.DboID, o.Permissions.RowID = m.DboID, m.RowID
	return o
}
