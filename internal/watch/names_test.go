package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	rulesFile = "../../deploy/prometheus/rules.yaml"
	pages     = "../../docs/operations/alerts"
)

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var f ruleFile
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range f.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 50 {
		t.Fatalf("%d rules", len(out))
	}
	return out
}

var listed = regexp.MustCompile("(?m)^\\| `(fanfare_\\w+)` \\| ([^|]*) \\|")

// listedMetrics are those of docs/metrics.md with their labels.
func listedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, m := range listed.FindAllStringSubmatch(string(text), -1) {
		var labels []string
		if l := strings.TrimSpace(m[2]); l != "" {
			labels = strings.Split(l, ", ")
		}
		out[m[1]] = labels
	}
	if len(out) < 100 {
		t.Fatalf("%d metrics", len(out))
	}
	return out
}

var (
	metricUse = regexp.MustCompile(`\b((?:fanfare|process|go)_[a-z0-9_]+)\b(?:\{([^}]*)\})?`)
	recordUse = regexp.MustCompile(`\bfanfare:[a-z0-9_:]+`)
	matcher   = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping  = regexp.MustCompile(`\b(?:by|on|ignoring|without) \(([^)]*)\)`)
	legend    = regexp.MustCompile(`\{\{\s*\$?(?:labels\.)?(\w+)`)
	quoted    = regexp.MustCompile(`"[^"]*"`)
)

// scraped are the labels that come from the scrape, le of classic histograms, and those of ALERTS.
var scraped = []string{"namespace", "job", "instance", "le", "alertname", "alertstate", "severity"}

// foreign are metrics of the Prometheus client library.
var foreign = map[string][]string{
	"process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil, "process_open_fds": nil, "process_max_fds": nil,
	"process_start_time_seconds": nil, "go_goroutines": nil, "go_memstats_heap_alloc_bytes": nil, "go_gc_duration_seconds": {"quantile"},
}

// names checks what an expression names.
type names struct {
	metrics  map[string][]string
	recorded map[string]bool
}

func (n names) problems(expr, text string) (out []string) {
	known := slices.Clone(scraped)
	for _, use := range metricUse.FindAllStringSubmatch(quotedOut(expr), -1) {
		name := use[1]
		labels, ok := n.metrics[name]
		if !ok {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if base := strings.TrimSuffix(name, suffix); base != name && strings.HasSuffix(base, "_seconds") && !ok {
					labels, ok = n.metrics[base]
				}
			}
		}
		if f, is := foreign[name]; is {
			labels, ok = f, true
		}
		if !ok {
			out = append(out, "no metric "+name)
			continue
		}
		known = append(known, labels...)
		for _, m := range matcher.FindAllStringSubmatch(use[2], -1) {
			if !slices.Contains(labels, m[1]) && !slices.Contains(scraped, m[1]) {
				out = append(out, fmt.Sprintf("%s has no label %s", name, m[1]))
			}
		}
	}
	for _, use := range recordUse.FindAllString(expr, -1) {
		if !n.recorded[use] {
			out = append(out, "nobody records "+use)
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if l := strings.TrimSpace(label); l != "" && !slices.Contains(known, l) {
				out = append(out, "no label "+l)
			}
		}
	}
	for _, l := range legend.FindAllStringSubmatch(text, -1) {
		if l[1] != "value" && !slices.Contains(known, l[1]) {
			out = append(out, "no label "+l[1]+" for "+text)
		}
	}
	return out
}

// quotedOut keeps the label names of selectors and drops values, in which there may be braces.
func quotedOut(expr string) string { return quoted.ReplaceAllString(expr, `""`) }

func newNames(t *testing.T) names {
	n := names{metrics: listedMetrics(t), recorded: map[string]bool{}}
	for _, r := range rules(t) {
		if r.Record != "" {
			n.recorded[r.Record] = true
		}
	}
	return n
}

// The check itself finds what is wrong.
func TestNamesAreChecked(t *testing.T) {
	n := newNames(t)
	for expr, legend := range map[string]string{
		`rate(fanfare_session[5m])`:           "",
		`fanfare_sessions{channel="x"}`:       "",
		`sum by (channel) (fanfare_sessions)`: "",
		`fanfare:nothing:rate5m > 1`:          "",
		`fanfare_sessions`:                    "{{user}}",
		`fanfare_sessions_bucket`:             "",
		`sum by (job) (fanfare_settings_rules{le="1"}) and fanfare_evictions_total{reson="x"}`: "",
	} {
		if n.problems(expr, legend) == nil {
			t.Errorf("%s: nothing found", expr)
		}
	}
	if p := n.problems(`sum by (stage, le) (rate(fanfare_stage_latency_seconds_bucket{stage=~"a|b", job="x"}[5m])) / fanfare:sessions:sum`, "{{stage}}"); p != nil {
		t.Error(p)
	}
}

// Every metric and label that a rule or a dashboard names is one that the programs have.
func TestNamesExist(t *testing.T) {
	n := newNames(t)
	for _, r := range rules(t) {
		for _, p := range n.problems(r.Expr, r.Annotations["description"]) {
			t.Errorf("%s%s: %s", r.Record, r.Alert, p)
		}
	}
	for _, b := range boards(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				for _, problem := range n.problems(q.Expr, q.LegendFormat) {
					t.Errorf("%s, %s: %s", b.file, p.Title, problem)
				}
			}
		}
		for _, v := range b.Templating.List {
			for _, problem := range n.problems(strings.TrimPrefix(v.Definition, "label_values"), "") {
				t.Errorf("%s, variable %s: %s", b.file, v.Name, problem)
			}
		}
	}
	// The pages name metrics too, a family of them by its beginning.
	files, err := filepath.Glob(pages + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`\bfanfare_[a-z0-9_]+[a-z0-9]\b`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range whole.FindAllString(string(text), -1) {
			if n.metrics[name] == nil && !slices.ContainsFunc(keys(n.metrics), func(m string) bool {
				return m == name || strings.HasPrefix(m, name+"_") || strings.HasPrefix(name, m+"_")
			}) {
				t.Errorf("%s: no metric %s", f, name)
			}
		}
	}
}

func keys(m map[string][]string) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// Every alert says how bad it is, what it means and where to read on, and every page is about an alert.
func TestAlertsHavePages(t *testing.T) {
	about := map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: summary or description", r.Alert)
		}
		page := filepath.Join("../..", r.Annotations["runbook"])
		if filepath.Dir(page) != filepath.Clean(pages) {
			t.Errorf("%s: runbook %s", r.Alert, page)
		}
		about[filepath.Base(page)] = true
		text, err := os.ReadFile(page)
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
			continue
		}
		for _, want := range []string{"# " + r.Alert + "\n", "\n## What it means\n", "\n## What users notice\n", "\n## What to look at\n", "\n## What to do\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", page, want)
			}
		}
	}
	files, err := filepath.Glob(pages + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := filepath.Base(f); !about[name] && name != "README.md" {
			t.Errorf("%s is about no alert", f)
		}
	}
}
