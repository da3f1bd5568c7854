package persist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/persist"
)

func try(out *bytes.Buffer) persist.Try {
	return persist.Try{
		Logger: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})), Waiting: "not yet", Attrs: []any{"what", "stream"},
	}
}

// TestUntil: it goes on until it succeeds, pauses at most a second, and says so every ten.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		begun := time.Now()
		attempts := 0
		err := try(&out).Until(t.Context(), func(context.Context) error {
			attempts++
			if time.Since(begun) < time.Minute {
				return errors.New("no")
			}
			return nil
		})
		if took := time.Since(begun); err != nil || took > 61*time.Second || attempts < 60 || attempts > 70 {
			t.Errorf("%d attempts in %s: %v", attempts, took, err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != attempts-1 || !strings.Contains(lines[0], `level=WARN msg="not yet" what=stream err=no`) {
			t.Errorf("%d lines of %d attempts: %s", len(lines), attempts, lines[0])
		}
		if n := strings.Count(out.String(), "level=WARN"); n != 6 {
			t.Errorf("%d warnings in a minute", n)
		}
	})
}

// TestUntilAnswered: an attempt that is never answered ends, and the next is made.
func TestUntilAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		if err := try(new(bytes.Buffer)).Until(t.Context(), func(ctx context.Context) error {
			if attempts++; attempts == 3 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestUntilFinal(t *testing.T) {
	refused := errors.New("refused")
	tries := try(new(bytes.Buffer))
	tries.Final = func(err error) bool { return errors.Is(err, refused) }
	attempts := 0
	err := tries.Until(t.Context(), func(context.Context) error {
		if attempts++; attempts == 1 {
			return errors.New("busy")
		}
		return fmt.Errorf("stream: %w", refused)
	})
	if attempts != 2 || !errors.Is(err, refused) {
		t.Errorf("%d attempts: %v", attempts, err)
	}
}

// TestUntilEnds: at the end of its time the error is what a broker said last, not that the time was over.
func TestUntilEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		attempts := 0
		err := try(new(bytes.Buffer)).Until(ctx, func(ctx context.Context) error {
			if attempts++; attempts == 2 {
				return fmt.Errorf("stream X: %w", &jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "JetStream system temporarily unavailable"})
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if _, ok := errors.AsType[*jetstream.APIError](err); !ok || !strings.Contains(err.Error(), "the brokers have no leader") {
			t.Errorf("after %d attempts: %v", attempts, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := try(new(bytes.Buffer)).Until(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
