package watch

import (
	"os/exec"
	"path/filepath"
	"testing"

	"fanfare/internal/labtest"
)

// Rules are valid, and every alert fires where it should and stays silent where it should not.
func TestRules(t *testing.T) {
	if testing.Short() {
		t.Log("short: without programs")
		return
	}
	promtool := labtest.Program(t, "promtool", "watch")
	tests, err := filepath.Glob("../../deploy/prometheus/*_test.yaml")
	if err != nil || len(tests) < 2 {
		t.Fatal(tests, err)
	}
	for _, args := range [][]string{{"check", "rules", rulesFile}, append([]string{"test", "rules"}, tests...)} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
