package chart_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

const chart = "../../helm/fanfare"

// TestFilesAreCurrent: the chart carries copies, because Helm reads nothing outside it (`make chart-files`).
func TestFilesAreCurrent(t *testing.T) {
	same := func(copied, original string) {
		t.Helper()
		a, err := os.ReadFile(copied)
		if err != nil {
			t.Error(err)
			return
		}
		if b, err := os.ReadFile(original); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not %s: run `make chart-files` (%v)", copied, original, err)
		}
	}
	same(chart+"/files/rules.yaml", "../../deploy/prometheus/rules.yaml")
	dashboards, err := filepath.Glob("../../deploy/grafana/*.json")
	if err != nil || len(dashboards) == 0 {
		t.Fatal("no dashboards", err)
	}
	for _, d := range dashboards {
		same(chart+"/files/dashboards/"+filepath.Base(d), d)
	}
	if copies, err := filepath.Glob(chart + "/files/dashboards/*.json"); len(copies) != len(dashboards) {
		t.Errorf("%d dashboards in the chart, %d in deploy/grafana (%v)", len(copies), len(dashboards), err)
	}
}

// TestReadme: every value is explained.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(content, &values); err != nil {
		t.Fatal(err)
	}
	for name := range values {
		if !bytes.Contains(readme, []byte("`"+name)) {
			t.Errorf("README.md does not mention %s", name)
		}
	}
}
