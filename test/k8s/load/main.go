package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"fanfare/client"
)

// options are the command line.
type options struct {
	url       string
	prefix    string // of the channels' names
	tag       string // tells the channels of several runs apart
	channels  int
	followers int
	senders   int
	each      time.Duration
	idle      int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // the root of all
	defer stop()
	var o options
	flag.StringVar(&o.url, "url", "ws://127.0.0.1:8000/rt/demo", "socket of the realtime server")
	flag.StringVar(&o.prefix, "prefix", "room/", "beginning of the channels' names")
	flag.StringVar(&o.tag, "tag", "load", "part of the channels' names")
	flag.IntVar(&o.channels, "channels", 4, "channels")
	flag.IntVar(&o.followers, "followers", 6, "clients that follow all channels")
	flag.IntVar(&o.senders, "senders", 6, "clients that send to one channel each")
	flag.DurationVar(&o.each, "each", 100*time.Millisecond, "time between two messages of a sender")
	flag.IntVar(&o.idle, "idle", 0, "hold so many sockets open, and do nothing else")
	flag.Parse()
	var err error
	if o.idle > 0 {
		err = hold(ctx, o, os.Stdout)
	} else {
		err = run(ctx, o, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run carries traffic until it is told to stop, and verifies.
func run(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	t := newTraffic(o)
	defer t.close()
	if err := t.join(ctx); err != nil {
		return err
	}
	commands := make(chan string)
	go func() {
		defer close(commands)
		for lines := bufio.NewScanner(in); lines.Scan(); {
			select {
			case commands <- strings.TrimSpace(lines.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	t.start(ctx)
	look, tell := time.NewTicker(200*time.Millisecond), time.NewTicker(time.Second)
	defer look.Stop()
	defer tell.Stop()
	encoder := json.NewEncoder(out)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			t.look()
		case <-tell.C:
			if err := encoder.Encode(t.status("")); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		case command, open := <-commands:
			if name, mark := strings.CutPrefix(command, "mark "); mark && open {
				t.begin(name)
				continue
			}
			err := t.verify(ctx)
			if printed := encoder.Encode(t.status("end")); printed != nil {
				return fmt.Errorf("print: %w", printed)
			}
			return err
		}
	}
}

// hold opens sockets, one a channel of its own, and keeps them until ctx ends.
func hold(ctx context.Context, o options, out io.Writer) error {
	for i := range o.idle {
		c, err := dial(ctx, o.url)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck,gocritic // all of them at the end
		if i%50 == 49 || i == o.idle-1 {
			fmt.Fprintf(out, "{\"held\":%d}\n", i+1)
		}
	}
	<-ctx.Done()
	return nil
}

// dial connects; a cluster that is being changed may refuse for a moment.
func dial(ctx context.Context, url string) (*client.Client, error) {
	for {
		c, err := client.Dial(ctx, url, client.Options{
			PingInterval: 3 * time.Second, PingTimeout: 3 * time.Second, BackoffMax: 4 * time.Second, HandshakeTimeout: 4 * time.Second,
		})
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
