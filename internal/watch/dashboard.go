package watch

import (
	"encoding/json"
	"fmt"
)

// dashboard is one file in deploy/grafana.
type dashboard struct {
	name        string // of the file; with a prefix also the uid
	title       string
	description string
	// anchor is a metric that every target of the dashboard has: the choices of the variables come from it.
	anchor    string
	variables []variable
	panels    []panel
}

// variable is a choice besides those every dashboard has.
type variable struct{ name, label, query, description string }

// selected is the selector of every expression: what was chosen above the panels.
const selected = `namespace=~"$namespace", job=~"$job", instance=~"$instance"`

type object map[string]any

// datasource is the one chosen above the panels.
var datasource = object{"type": "prometheus", "uid": "${datasource}"} //nolint:gochecknoglobals // a constant

// JSON is the dashboard as Grafana reads it, the same bytes every time.
func (d dashboard) JSON() ([]byte, error) {
	out := object{
		"uid": d.uid(), "title": d.title, "description": d.description, "tags": []string{"fanfare"},
		"schemaVersion": 38, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "",
		"time":        object{"from": "now-3h", "to": "now"},
		"templating":  object{"list": d.templating()},
		"annotations": object{"list": d.annotations()},
		"links": []object{{
			"type": "dashboards", "title": "Fanfare", "tags": []string{"fanfare"}, "asDropdown": false,
			"includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
		}},
		"panels": d.layout(),
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", d.name, err)
	}
	return append(text, '\n'), nil
}

func (d dashboard) uid() string { return "fanfare-" + d.name }

func (d dashboard) templating() []object {
	list := []object{{
		"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "hide": 0, "refresh": 1,
		"current": object{}, "options": []object{}, "regex": "", "multi": false, "includeAll": false,
		"description": "The Prometheus that scrapes Fanfare.",
	}}
	all := append([]variable{
		{"namespace", "Namespace", "label_values(" + d.anchor + ", namespace)", "Of Kubernetes; empty elsewhere."},
		{"job", "Job", "label_values(" + d.anchor + `{namespace=~"$namespace"}, job)`, "The scrape job: one installation."},
		{"instance", "Instance", "label_values(" + d.anchor + `{namespace=~"$namespace", job=~"$job"}, instance)`, "Single processes."},
	}, d.variables...)
	for _, v := range all {
		list = append(list, object{
			"type": "query", "name": v.name, "label": v.label, "description": v.description, "datasource": datasource,
			"query": object{"query": v.query, "refId": v.name}, "definition": v.query, "refresh": 2, "sort": 1, "hide": 0, "regex": "",
			"multi": true, "includeAll": true, "allValue": ".*", "options": []object{},
			"current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
		})
	}
	return list
}

func (d dashboard) annotations() []object {
	note := func(name, color, expr, title string) object {
		return object{
			"name": name, "datasource": datasource, "enable": true, "hide": false, "iconColor": color, "expr": expr,
			"step": "60s", "titleFormat": title, "textFormat": "{{instance}}", "useValueForTime": false,
		}
	}
	return []object{
		note("Alerts", "red", `ALERTS{alertname=~"Fanfare.*", alertstate="firing", namespace=~"$namespace"}`, "{{alertname}}"),
		note("Starts", "blue", `changes(process_start_time_seconds{`+selected+`}[2m]) > 0`, "Start"),
	}
}

// layout places the panels from left to right, and gives them numbers.
func (d dashboard) layout() []object {
	out := make([]object, 0, len(d.panels))
	x, y, height := 0, 0, 0
	for i, p := range d.panels {
		if p.kind == kindRow {
			p.width, p.height = 24, 1
		}
		if x+p.width > 24 || p.kind == kindRow {
			x, y, height = 0, y+height, 0
		}
		one := p.object()
		one["id"] = i + 1
		one["gridPos"] = object{"x": x, "y": y, "w": p.width, "h": p.height}
		out = append(out, one)
		x, height = x+p.width, max(height, p.height)
	}
	return out
}

func (p panel) object() object {
	if p.kind == kindRow {
		return object{"type": kindRow, "title": p.title, "collapsed": false, "panels": []object{}}
	}
	targets := make([]object, 0, len(p.queries))
	for i, one := range p.queries {
		target := object{
			"refId": string(rune('A' + i)), "datasource": datasource, "expr": one.expr, "legendFormat": one.legend,
			"editorMode": "code", "range": true, "instant": false, "exemplar": one.exemplars,
		}
		switch {
		case p.kind == kindHeatmap:
			target["format"] = "heatmap"
		case one.table:
			target["format"], target["range"], target["instant"] = "table", false, true
		case p.kind == kindStat:
			target["range"], target["instant"] = false, true
		}
		targets = append(targets, target)
	}
	out := object{
		"type": p.kind, "title": p.title, "description": p.description, "datasource": datasource, "targets": targets,
		"options": p.options(), "fieldConfig": object{"defaults": p.defaults(), "overrides": []object{}},
	}
	if p.kind == kindTable {
		out["transformations"] = []object{{"id": "organize", "options": object{"excludeByName": object{"Time": true, "Value": true, "__name__": true}}}}
	}
	return out
}

func (p panel) options() object {
	switch p.kind {
	case kindStat:
		return object{
			"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		}
	case kindHeatmap:
		return object{
			"calculate": false, "cellGap": 0, "color": object{"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "scale": "exponential"},
			"exemplars": object{"color": "rgba(50,116,217,0.9)"}, "filterValues": object{"le": 1e-9}, "legend": object{"show": true},
			"rowsFrame": object{"layout": "auto"}, "tooltip": object{"show": true, "yHistogram": true}, "yAxis": object{"axisPlacement": "left", "reverse": false, "unit": p.unit},
		}
	case kindTable:
		return object{"showHeader": true, "cellHeight": "sm", "footer": object{"show": false}}
	}
	return object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
}

func (p panel) defaults() object {
	out := object{"unit": p.unit}
	if p.max > 0 {
		out["max"] = p.max
	}
	if p.kind == kindSeries {
		stacking := "none"
		fill := 8
		if p.stacked {
			stacking, fill = "normal", 40
		}
		out["min"] = 0
		out["custom"] = object{
			"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "spanNulls": false,
			"stacking": object{"mode": stacking, "group": "A"}, "thresholdsStyle": object{"mode": thresholdStyle(p.steps)},
		}
	}
	if p.kind == kindHeatmap {
		out["custom"] = object{"scaleDistribution": object{"type": "linear"}}
	}
	if p.steps != nil || p.kind == kindStat {
		out["color"] = object{"mode": "palette-classic"}
		if p.kind == kindStat {
			out["color"] = object{"mode": "thresholds"}
		}
		out["thresholds"] = object{"mode": "absolute", "steps": p.thresholds()}
	}
	return out
}

func thresholdStyle(steps []float64) string {
	if steps == nil {
		return "off"
	}
	return "dashed"
}

func (p panel) thresholds() []object {
	if p.steps == nil {
		return []object{{"color": "blue", "value": nil}}
	}
	colors, at := []string{"green", "yellow", "red"}, p.steps
	if p.falling {
		colors, at = []string{"red", "yellow", "green"}, []float64{p.steps[1], p.steps[0]}
	}
	return []object{{"color": colors[0], "value": nil}, {"color": colors[1], "value": at[0]}, {"color": colors[2], "value": at[1]}}
}
