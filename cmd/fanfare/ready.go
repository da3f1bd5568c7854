package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// readyEvery is how often a server that is not ready is asked again.
const readyEvery = 500 * time.Millisecond

func (p *program) readyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ready",
		Short: "Ask a gateway or a broker whether it is ready",
		Long: `Asks /readyz on the operations listener and prints the answer. Ends with 0 when it is ready and with 1 when it is
not. For health checks of containers, whose image has nothing else that could ask.`,
		Example: `  fanfare ready
  fanfare ready --url http://gateway:8001 --wait 60s`,
		Args: cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			wait, err := cmd.Flags().GetDuration("wait")
			if err != nil {
				return fmt.Errorf("flag wait: %w", err)
			}
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			answer, err := waitUntilReady(ctx, text(cmd, "url"), wait)
			if answer != "" {
				_, _ = fmt.Fprint(p.stdout, answer)
			}
			return err
		}),
	}
	cmd.Flags().String("url", "http://127.0.0.1:8001", "where its operations listener is (ops_listen)")
	cmd.Flags().Duration("wait", 0, "how long to wait until it is ready; 0 = ask once")
	return cmd
}

var errNotReady = errors.New("not ready")

// waitUntilReady asks until it is ready or the time is over, and gives the last answer.
func waitUntilReady(ctx context.Context, base string, wait time.Duration) (answer string, err error) {
	end := time.Now().Add(wait)
	for {
		if answer, err = askReady(ctx, base); err == nil || time.Now().After(end) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(readyEvery):
		}
	}
}

func askReady(ctx context.Context, base string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/readyz", nil)
	if err != nil {
		return "", usageError{fmt.Errorf("--url: %w", err)}
	}
	response, err := toolHTTP().Do(request)
	if err != nil {
		return "", unreachable(base, err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", base, err)
	}
	if response.StatusCode != http.StatusOK {
		return string(b), errNotReady
	}
	return string(b), nil
}
