package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Places in a picture, in pixels.
const (
	width, height = 720, 400
	left, right   = 76, 24
	top, bottom   = 48, 60
)

// drawAll makes a picture of every figure that has measurements.
func drawAll(dir string) error {
	rows, err := load(dir)
	if err != nil {
		return err
	}
	for _, f := range figures {
		mine := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.figure != f.name })
		if len(mine) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "growth-"+f.name+".svg"), picture(f, mine), 0o644); err != nil { //nolint:gosec // committed
			return fmt.Errorf("picture: %w", err)
		}
	}
	return nil
}

// axis maps values to pixels.
type axis struct {
	low, high float64 // of values, or of their logarithms
	log       bool
	from, to  float64
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return a.from + (v-a.low)/(a.high-a.low)*(a.to-a.from)
}

// newAxis has a little room at its ends.
func newAxis(log bool, from, to float64, values []float64) axis {
	low, high := slices.Min(values), slices.Max(values)
	if log {
		low, high = math.Log10(low), math.Log10(high)
		room := max((high-low)*0.06, 0.05)
		return axis{low - room, high + room, true, from, to}
	}
	return axis{0, cmp.Or(high*1.1, 1), false, from, to}
}

// ticks are round values within the axis.
func (a axis) ticks() (all []float64) {
	if a.log {
		steps := []float64{1, 2, 5}
		switch span := a.high - a.low; {
		case span > 2.5:
			steps = []float64{1}
		case span < 1.2:
			steps = []float64{1, 1.5, 2, 3, 4, 5, 7}
		}
		for e := math.Floor(a.low); e <= a.high; e++ {
			for _, m := range steps {
				if l := math.Log10(m) + e; l >= a.low && l <= a.high {
					all = append(all, m*math.Pow(10, e))
				}
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10(a.high)))
	for a.high/step < 4 {
		step /= 2
	}
	for v := 0.0; v <= a.high; v += step {
		all = append(all, v)
	}
	return all
}

// picture draws one figure. It is readable on white and on dark, and without either.
func picture(f figure, rows []row) []byte {
	var xs, ys []float64
	for _, r := range rows {
		xs, ys = append(xs, r.x), append(ys, max(r.y, 1e-3))
	}
	x := newAxis(slices.Max(xs)/slices.Min(xs) > 20, left, width-right, xs)
	if !x.log {
		x.low, x.high = slices.Min(xs)-0.3, slices.Max(xs)+0.3
	}
	y := newAxis(f.logY, height-bottom, top, ys)
	var b bytes.Buffer
	put := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, height, html.EscapeString(f.title))
	put(`<style>
svg{--ink:#1f2328;--faint:#d8dee4;--back:#ffffff;--a:#0b62d6;--b:#b4530a;font:13px system-ui,sans-serif;background:var(--back)}
@media (prefers-color-scheme:dark){svg{--ink:#e6edf3;--faint:#30363d;--back:#0d1117;--a:#6cb6ff;--b:#f0a35c}}
text{fill:var(--ink)} .grid{stroke:var(--faint)} .a{stroke:var(--a);fill:var(--a)} .b{stroke:var(--b);fill:var(--b)}
path{fill:none!important;stroke-width:2} text.a,text.b{stroke:none} h1{font-weight:600}
</style>`)
	put(`<rect width="%d" height="%d" fill="var(--back)"/>`, width, height)
	put(`<text x="%d" y="24" font-size="16" font-weight="600">%s</text>`, left, html.EscapeString(f.title))
	for _, v := range y.ticks() {
		put(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			left, width-right, y.at(v), y.at(v), left-8, y.at(v)+4, label(v))
	}
	xTicks := x.ticks()
	if !x.log {
		xTicks = slices.Compact(slices.Sorted(slices.Values(xs)))
	}
	for _, v := range xTicks {
		put(`<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`,
			x.at(v), x.at(v), top, height-bottom, x.at(v), height-bottom+18, label(v))
	}
	put(`<text x="%d" y="%d" text-anchor="middle">%s</text>`, (left+width-right)/2, height-14, html.EscapeString(f.x))
	put(`<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`, (top+height-bottom)/2, html.EscapeString(f.y))
	drawLines(put, rows, x, y)
	put(`</svg>`)
	return b.Bytes()
}

func drawLines(put func(string, ...any), rows []row, x, y axis) {
	var lines []string
	for _, r := range rows {
		if !slices.Contains(lines, r.line) {
			lines = append(lines, r.line)
		}
	}
	for i, line := range lines {
		class := []string{"a", "b"}[i%2]
		mine := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.line != line })
		slices.SortFunc(mine, func(a, b row) int { return cmp.Compare(a.x, b.x) })
		var path strings.Builder
		for j, r := range mine {
			_, _ = fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], x.at(r.x), y.at(max(r.y, 1e-3)))
		}
		put(`<path class="%s" d="%s"/>`, class, path.String())
		for _, r := range mine {
			put(`<circle class="%s" cx="%.1f" cy="%.1f" r="3.5"><title>%s: %s</title></circle>`, class, x.at(r.x), y.at(max(r.y, 1e-3)), label(r.x), label(r.y))
		}
		if len(lines) > 1 {
			put(`<circle class="%s" cx="%d" cy="%d" r="4"/><text x="%d" y="%d">%s</text>`, class, left+12+220*i, top-8, left+22+220*i, top-4, html.EscapeString(line))
		}
	}
}

// label writes a number shortly.
func label(v float64) string {
	if v >= 10_000 {
		return text(math.Round(v/100)/10) + "k"
	}
	digits := math.Pow(10, 2-math.Floor(math.Log10(max(math.Abs(v), 1e-9))))
	return text(math.Round(v*digits) / digits)
}
