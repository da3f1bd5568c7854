package watch

import "fmt"

// Kinds of panels, by the names that Grafana has for them.
const (
	kindSeries  = "timeseries"
	kindStat    = "stat"
	kindHeatmap = "heatmap"
	kindTable   = "table"
	kindRow     = "row"
)

// panel is one picture of a dashboard. Rows are 24 wide; panels are laid out in the order they are listed in.
type panel struct {
	title, description string
	kind               string
	unit               string // of Grafana
	width, height      int
	queries            []query
	// steps are the values from which on it turns yellow and red; with falling set, below which.
	steps   []float64
	falling bool
	stacked bool
	max     float64 // 0 = as the data has it
}

// query is one expression and what its lines are called.
type query struct {
	expr, legend string
	exemplars    bool
	table        bool
	// quiet: a system without faults has no such series.
	quiet bool
}

func q(legend, format string, args ...any) query {
	return query{expr: fmt.Sprintf(format, args...), legend: legend}
}

// whenAny marks a query that is empty in a system without faults.
func whenAny(legend, format string, args ...any) query {
	one := q(legend, format, args...)
	one.quiet = true
	return one
}

func row(title string) panel { return panel{kind: kindRow, title: title} }

func series(title, unit, description string, queries ...query) panel {
	return panel{kind: kindSeries, title: title, unit: unit, description: description, width: 8, height: 8, queries: queries}
}

func stat(title, unit, description string, one query) panel {
	return panel{kind: kindStat, title: title, unit: unit, description: description, width: 4, height: 4, queries: []query{one}}
}

// heat is a heatmap of a histogram: of a native one where the scrape brought one, else of its classic buckets.
func heat(title, description, metric, selector string) panel {
	expr := fmt.Sprintf("sum(rate(%s{%s}[$__rate_interval])) or sum by (le) (rate(%s_bucket{%s}[$__rate_interval]))", metric, selector, metric, selector)
	return panel{
		kind: kindHeatmap, title: title, unit: "s", description: description, width: 12, height: 9,
		queries: []query{{expr: expr, legend: "{{le}}", exemplars: true}},
	}
}

// wide is half of a row.
func (p panel) wide() panel { p.width = 12; return p }

// tall is as high as a heatmap.
func (p panel) tall() panel { p.height = 9; return p }

func (p panel) warnAbove(yellow, red float64) panel { p.steps = []float64{yellow, red}; return p }

func (p panel) warnBelow(yellow, red float64) panel {
	p.steps, p.falling = []float64{yellow, red}, true
	return p
}

func (p panel) stack() panel { p.stacked = true; return p }

// upToOne is for what is or is not.
func (p panel) upToOne() panel { p.max = 1; return p }

// quantile is the expression of a quantile, of classic or native buckets, whichever there are.
func quantile(at float64, metric, selector, by string) string {
	classic, native := "le", ""
	if by != "" {
		classic, native = by+", le", "by ("+by+") "
	}
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s) (rate(%s_bucket{%s}[$__rate_interval]))) or histogram_quantile(%g, sum %s(rate(%s{%s}[$__rate_interval])))",
		at, classic, metric, selector, at, native, metric, selector)
}

// quantiles are lines for the median, the 99th and the 99.9th percentile.
func quantiles(metric, selector string) []query {
	out := make([]query, 0, 3)
	for _, at := range []float64{0.5, 0.99, 0.999} {
		out = append(out, query{expr: quantile(at, metric, selector, ""), legend: fmt.Sprintf("p%g", at*100), exemplars: at == 0.99})
	}
	return out
}

// perSecond is the rate of a counter, added up by labels.
func perSecond(metric, selector, by string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s{%s}[$__rate_interval]))", by, metric, selector)
}
