package main

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One point of each kind of lab, from a real server to a picture.
func TestMeasureAndDraw(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "fanfare")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "fanfare/cmd/fanfare").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	few := []string{"fan-out", "--channel", "live/t", "--members", "20", "--rate", "50"}
	for _, p := range []point{
		{line: "embedded", x: 1, measure: cost(few...)},
		{line: "cluster", x: 2, gateways: 2, broker: true, measure: cost(few...)},
	} {
		y, err := measure(t.Context(), bin, p, true)
		if err != nil || y <= 0 {
			t.Fatalf("%s: %v %v", p, y, err)
		}
		if err := record(dir, row{"gateways", p.line, p.x, y}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context(), []string{"-draw", "-dir", dir}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "growth-gateways.svg")); err != nil {
		t.Error(err)
	}
	lost := point{measure: func(ctx context.Context, l *lab, _ bool) (float64, error) {
		_, err := l.bench(ctx, -1, "fan-out", "--channel", "nowhere")
		return 0, err
	}}
	if _, err := measure(t.Context(), bin, lost, true); err == nil || !strings.Contains(err.Error(), "no enabled rule") {
		t.Errorf("a channel without a rule: %v", err)
	}
}

// Every picture of made-up rows is well-formed and has a point for each row, in the frame.
func TestPictures(t *testing.T) {
	for _, f := range figures {
		var rows []row
		for i, p := range f.points {
			rows = append(rows, row{f.name, p.line, p.x, float64(1 + i%5)})
		}
		b := picture(f, rows)
		circles := 0
		for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "title" {
				circles++
			}
		}
		if circles != len(rows) || strings.Contains(string(b), "NaN") || strings.Contains(string(b), "Inf") {
			t.Errorf("%s: %d points of %d\n%s", f.name, circles, len(rows), b)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, test := range []struct {
		log    bool
		values []float64
	}{{true, []float64{1, 10_000}}, {true, []float64{3, 4}}, {false, []float64{0.5, 7}}, {false, []float64{0}}, {true, []float64{5}}} {
		a := newAxis(test.log, 100, 0, test.values)
		for _, v := range test.values {
			if at := a.at(v); at < 0 || at > 100 || math.IsNaN(at) {
				t.Errorf("%v: %v is at %v", test, v, at)
			}
		}
		ticks := a.ticks()
		if !slices.IsSorted(ticks) || len(ticks) > 15 {
			t.Errorf("%v: ticks %v", test, ticks)
		}
	}
}

func TestMedian(t *testing.T) {
	dir := t.TempDir()
	for _, y := range []float64{9, 1, 2} {
		if err := record(dir, row{"rate", "l", 10, y}); err != nil {
			t.Fatal(err)
		}
	}
	if err := record(dir, row{"rate", "l", 20, 4}); err != nil {
		t.Fatal(err)
	}
	rows, err := load(dir)
	if err != nil || !slices.Equal(rows, []row{{"rate", "l", 10, 2}, {"rate", "l", 20, 4}}) {
		t.Errorf("%v %v", rows, err)
	}
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 100: "100", 18_000: "18k", 100_000: "100k", 6.4321: "6.43"} {
		if got := label(v); got != want {
			t.Errorf("%v is written %s", v, got)
		}
	}
}
