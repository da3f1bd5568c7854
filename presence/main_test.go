package presence

import (
	"testing"

	"fanfare/internal/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }
