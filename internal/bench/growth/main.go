// Command growth measures how the cost of a delivery, of a connection and of a join grows, and draws it. It starts
// servers from a built binary on free ports of loopback, puts load on them with `fanfare bench`, and appends what it
// found to a CSV file; with -draw it makes the pictures from that file. What the figures are stands in
// docs/performance/growth.md.
//
//	make build
//	go run ./internal/bench/growth -only members
//	go run ./internal/bench/growth -draw
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // the root
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("growth", flag.ContinueOnError)
	flags.SetOutput(log)
	bin := flags.String("bin", "bin/fanfare", "the binary, as `make build` makes it")
	dir := flags.String("dir", "docs/performance", "where growth.csv and the pictures are")
	only := flags.String("only", "", "figures to measure, separated by commas (default all): "+strings.Join(names(), ", "))
	short := flags.Bool("short", false, "small sizes, to see whether it works")
	draw := flags.Bool("draw", false, "measure nothing, draw the pictures")
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // says what is wrong
	}
	if *draw {
		return drawAll(*dir)
	}
	wanted := names()
	if *only != "" {
		wanted = strings.Split(*only, ",")
	}
	for _, name := range wanted {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
		if i < 0 {
			return fmt.Errorf("no figure %q; there are %s", name, strings.Join(names(), ", "))
		}
		f := figures[i]
		for _, p := range f.points {
			if *short && p.size > 1000 {
				continue
			}
			y, err := measure(ctx, *bin, p, *short)
			if err != nil {
				return fmt.Errorf("%s, %s %g: %w", name, p.line, p.x, err)
			}
			_, _ = fmt.Fprintf(log, "%s %s %g: %.4g\n", name, p.line, p.x, y)
			if err := record(*dir, row{name, p.line, p.x, y}); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure is one point, on servers of its own.
func measure(ctx context.Context, bin string, p point, short bool) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	l, err := newLab(ctx, bin, p)
	defer l.close()
	if err != nil {
		return 0, err
	}
	return p.measure(ctx, l, short)
}
