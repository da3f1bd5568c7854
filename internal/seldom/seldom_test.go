package seldom_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/seldom"
)

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l seldom.Line
		warned := 0
		for i := range 60 {
			switch level := l.Level(); {
			case level == slog.LevelWarn:
				warned++
			case i == 0, level != slog.LevelDebug:
				t.Errorf("attempt %d: %v", i, level)
			}
			time.Sleep(time.Second)
		}
		if warned != 6 {
			t.Errorf("%d warnings in a minute", warned)
		}
	})
}
