package watch

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

const grafana = "../../deploy/grafana"

var update = flag.Bool("update", false, "write deploy/grafana anew")

// The files in deploy/grafana are those that this package makes, and no others.
func TestDashboardsAreCurrent(t *testing.T) {
	made := make(map[string]bool)
	for _, d := range dashboards() {
		want, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(grafana, d.name+".json")
		made[path] = true
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not current: run this test with -update (%v)", path, err)
		}
	}
	files, err := filepath.Glob(grafana + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !made[f] {
			t.Errorf("%s is made by nobody", f)
		}
	}
}
