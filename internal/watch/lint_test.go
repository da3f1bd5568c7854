package watch

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// board is a dashboard as it lies in deploy/grafana.
type board struct {
	file        string
	UID         string `json:"uid"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Tags        []string
	Links       []struct{ Tags []string }
	Templating  struct {
		List []struct {
			Name, Type, Label, Description, Definition, AllValue string
		}
	}
	Annotations struct {
		List []struct {
			Name, Expr string
			Datasource source
		}
	}
	Panels []boardPanel
}

type source struct{ Type, UID string }

type boardPanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		RefID, Expr, LegendFormat, Format string
		Datasource                        source
		Exemplar                          bool
	}
}

func boards(t *testing.T) []board {
	t.Helper()
	files, err := filepath.Glob(grafana + "/*.json")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	out := make([]board, 0, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b := board{file: filepath.Base(file)}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, b)
	}
	return out
}

var variableUse = regexp.MustCompile(`\$\{?(\w+)`)

// What Grafana itself fills in.
var builtin = map[string]bool{"__range": true, "__rate_interval": true}

// Dashboards can be imported side by side, lead to each other, take their data source from a variable, and say what
// each panel shows.
func TestDashboardsStructure(t *testing.T) {
	uids, titles := map[string]string{}, map[string]string{}
	for _, b := range boards(t) {
		problem := func(what string, args ...any) { t.Helper(); t.Errorf(b.file+": "+what, args...) }
		if b.UID == "" || len(b.UID) > 40 || uids[b.UID] != "" {
			problem("uid %q, also of %q", b.UID, uids[b.UID])
		}
		if b.Title == "" || b.Description == "" || titles[b.Title] != "" {
			problem("title %q or description", b.Title)
		}
		uids[b.UID], titles[b.Title] = b.file, b.file
		if len(b.Tags) != 1 || b.Tags[0] != "fanfare" || len(b.Links) != 1 || b.Links[0].Tags[0] != "fanfare" {
			problem("is not linked with the others by their tag")
		}
		known := map[string]bool{}
		for i, v := range b.Templating.List {
			if v.Label == "" || v.Description == "" || known[v.Name] {
				problem("variable %q", v.Name)
			}
			if i == 0 && (v.Type != "datasource" || v.Name != "datasource") {
				problem("first variable is %s %s", v.Type, v.Name)
			}
			for _, use := range variableUse.FindAllStringSubmatch(v.Definition, -1) {
				if !known[use[1]] {
					problem("variable %s needs %s, which comes later or never", v.Name, use[1])
				}
			}
			known[v.Name] = true
		}
		ours := func(s source) bool { return s.Type == "prometheus" && s.UID == "${datasource}" }
		for _, a := range b.Annotations.List {
			if !ours(a.Datasource) || a.Expr == "" {
				problem("annotation %s", a.Name)
			}
		}
		ids, taken, used := map[int]bool{}, map[[2]int]string{}, map[string]bool{}
		names := map[string]bool{}
		row := ""
		for _, p := range b.Panels {
			if ids[p.ID] || p.ID == 0 {
				problem("panel %q: id %d", p.Title, p.ID)
			}
			ids[p.ID] = true
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if at[0] >= 24 || taken[at] != "" {
						problem("panel %q lies on %q or outside", p.Title, taken[at])
					}
					taken[at] = p.Title
				}
			}
			if p.Type == kindRow {
				row = p.Title
				continue
			}
			if p.Title == "" || names[row+p.Title] {
				problem("panel %q twice in row %q", p.Title, row)
			}
			names[row+p.Title] = true
			if len(p.Description) < 10 || !strings.HasSuffix(p.Description, ".") {
				problem("panel %q: description %q", p.Title, p.Description)
			}
			if p.FieldConfig.Defaults.Unit == "" || !ours(p.Datasource) || len(p.Targets) == 0 {
				problem("panel %q: unit, data source or queries", p.Title)
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.Expr == "" || refs[q.RefID] || !ours(q.Datasource) || strings.Contains(q.Expr, "%!") || strings.Contains(q.Expr, "%s") {
					problem("panel %q: query %s %q", p.Title, q.RefID, q.Expr)
				}
				if q.LegendFormat == "" && p.Type != kindStat {
					problem("panel %q: query %s has no legend", p.Title, q.RefID)
				}
				if q.Format == "heatmap" != (p.Type == kindHeatmap) || p.Type == kindHeatmap && !q.Exemplar {
					problem("panel %q: query %s as a heatmap", p.Title, q.RefID)
				}
				refs[q.RefID] = true
				for _, use := range variableUse.FindAllStringSubmatch(q.Expr, -1) {
					if !known[use[1]] && !builtin[use[1]] {
						problem("panel %q: unknown variable %s", p.Title, use[1])
					}
					used[use[1]] = true
				}
			}
		}
		for name := range known {
			if !used[name] && name != "datasource" {
				problem("variable %s chooses nothing", name)
			}
		}
	}
}
