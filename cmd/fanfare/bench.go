package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanfare/internal/bench"
	"fanfare/internal/config"
)

func (p *program) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench SCENARIO",
		Short: "Put load on a running server and measure it",
		Long: `Opens sockets against a running server (it starts none: fanfare dev or fanfare serve does), sends on a schedule
that does not wait for answers, and tells latencies from the moment a message was due, losses, duplicates and disorder.

  fan-out    one channel, all members get what one of them sends      --members 1000 --rate 50
  rooms      many channels of few members                             --channels 1000 --members 10 --rate 1
  idle       sockets that join and say nothing: memory                --channels 100 --members 10
  storm      all connect, are cut, and come back                      --channels 100 --members 10
  presence   all join one channel that observers watch, then leave    --members 1000 --observers 10
  history    stores messages and reads them                           --members 100 --messages 100 --rate 100

With --ops, the server's operations address, it also tells the server's CPU and memory. The channels' rule must allow
what the scenario does; where it does not, the error says what to change. By default that is what fanfare dev has.
Run it on another machine than the server's for figures that are the server's own. Exit code 1: something was lost.`,
		Example: `  fanfare bench fan-out --ops 127.0.0.1:8001
  fanfare bench rooms --channels 500 --members 20 --rate 2 --duration 30s
  fanfare bench idle --channels 1000 --members 10 --ops 127.0.0.1:8001
  fanfare bench storm --channels 1000 --members 5 --json
  fanfare bench fan-out --url https://rt.example.com --hash 4Rd… --channel load/test --warmup 5s --duration 1m`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"fan-out", "rooms", "idle", "storm", "presence", "history"},
		RunE:      p.action(p.bench),
	}
	apiFlags(cmd)
	identityFlags(cmd)
	cmd.Flags().Bool("json", false, "print JSON")
	flags := cmd.Flags()
	flags.String("user-token-file", "", "file with the token of a user for all sockets (- = standard input)")
	flags.StringSlice("gateway", nil, "addresses of further gateways: connections are spread over them and --url")
	flags.StringSlice("ops", nil, "operations addresses of the gateways, for their CPU and memory")
	flags.String("channel", "", "channel, or what the channels' names begin with (default chat/bench)")
	flags.Int("channels", 0, "channels")
	flags.Int("members", 0, "members of each channel")
	flags.Int("joins", 0, "channels that one connection joins (default 1)")
	flags.Float64("rate", 0, "messages a second and channel; storm: connects, presence: joins a second (default as fast as it goes); history: requests a second")
	flags.Int("size", 0, "bytes of a payload (default 128)")
	flags.Duration("duration", 0, "how long to send (default 10s); idle: how long to watch")
	flags.Duration("warmup", time.Second, "sent before, and not in the figures")
	flags.Duration("settle", 0, "idle: wait so long before memory is read (default 1s)")
	flags.Duration("drain", 0, "wait so long for a delivery before what is missing counts as lost (default 5s)")
	flags.Float64("sender-rate", 0, "messages a second that one socket sends at most; then others send too (default 50)")
	flags.Float64("connect-rate", 0, "connects a second (default as fast as it goes)")
	flags.Int("parallel", 0, "connects under way at once (default 64)")
	flags.Int("observers", 0, "presence: how many watch (default 10)")
	flags.Int("messages", 0, "history: how many are stored (default 100)")
	flags.String("publish", "socket", "who sends: socket, or api for events of a back end (needs an API key)")
	cmd.MarkFlagsMutuallyExclusive("user-token-file", "row-id")
	return cmd
}

func (p *program) bench(cmd *cobra.Command, args []string) error {
	o, err := p.benchOptions(cmd, bench.Scenario(args[0]))
	if err != nil {
		return err
	}
	wipe := func() {}
	if f, ok := p.stderr.(*os.File); ok && isTerminal(f) {
		o.Progress = func(line string) { _, _ = fmt.Fprintf(p.stderr, "\r\x1b[K%s", line) }
		wipe = func() { _, _ = fmt.Fprint(p.stderr, "\r\x1b[K") }
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	result, err := bench.Run(ctx, o)
	wipe()
	if err != nil {
		return benchError(ctx, o.URLs[0], err)
	}
	if set(cmd, "json") {
		out := p.printer()
		out.json(result)
		err = out.flush()
	} else {
		err = result.Print(p.stdout)
	}
	if err == nil && !result.OK() {
		err = errors.New(result.Problems[0])
	}
	return err
}

// benchError says whose mistake it is.
func benchError(ctx context.Context, address string, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: no figures")
	}
	if usage, ok := errors.AsType[*bench.UsageError](err); ok {
		return usageError{usage}
	}
	if rule, ok := errors.AsType[*bench.RuleError](err); ok {
		return &refusal{Message: rule.Error()}
	}
	return unreachable(address, err)
}

func (p *program) benchOptions(cmd *cobra.Command, scenario bench.Scenario) (bench.Options, error) {
	o := bench.Options{Scenario: scenario, Hash: text(cmd, "hash"), Channel: text(cmd, "channel")}
	cfg, err := p.toolConfig(cmd)
	if err != nil {
		return o, err
	}
	flags := cmd.Flags()
	gateways, err := flags.GetStringSlice("gateway")
	if err != nil {
		return o, fmt.Errorf("flag gateway: %w", err)
	}
	for _, address := range append([]string{cfg.URL}, gateways...) {
		o.URLs = append(o.URLs, strings.TrimSuffix(address, "/"))
	}
	if o.Ops, err = flags.GetStringSlice("ops"); err != nil {
		return o, fmt.Errorf("flag ops: %w", err)
	}
	for name, p := range map[string]*int{
		"channels": &o.Channels, "members": &o.Members, "joins": &o.Joins, "size": &o.Size,
		"parallel": &o.Parallel, "observers": &o.Observers, "messages": &o.Messages,
	} {
		if *p, err = flags.GetInt(name); err != nil {
			return o, fmt.Errorf("flag %s: %w", name, err)
		}
	}
	for name, p := range map[string]*float64{"rate": &o.Rate, "sender-rate": &o.SenderRate, "connect-rate": &o.ConnectRate} {
		if *p, err = flags.GetFloat64(name); err != nil {
			return o, fmt.Errorf("flag %s: %w", name, err)
		}
	}
	for name, p := range map[string]*time.Duration{"duration": &o.Duration, "warmup": &o.Warmup, "settle": &o.Settle, "drain": &o.Drain} {
		if *p, err = flags.GetDuration(name); err != nil {
			return o, fmt.Errorf("flag %s: %w", name, err)
		}
	}
	switch text(cmd, "publish") {
	case "socket":
	case "api":
		r, err := p.api(cmd, config.ScopePublish)
		if err != nil {
			return o, err
		}
		if o.APIKey = r.token; o.APIKey == "" {
			return o, usageError{fmt.Errorf("--publish api needs %s", r.hint)}
		}
	default:
		return o, usageError{errors.New("--publish is socket or api")}
	}
	switch {
	case text(cmd, "user-token-file") != "":
		o.Token, err = p.secretFile(text(cmd, "user-token-file"))
	case flags.Changed("row-id") || flags.Changed("dbo-id"):
		o.Token, err = p.mintToken(cmd, cfg)
	}
	return o, err
}

// isTerminal tells whether somebody may be watching.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
