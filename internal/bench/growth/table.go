package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// row is one measurement as the file has it. Several of the same point are several runs.
type row struct {
	figure, line string
	x, y         float64
}

const fileName = "growth.csv"

// record appends a measurement.
func record(dir string, r row) error {
	name := filepath.Join(dir, fileName)
	_, err := os.Stat(name)
	f, e := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // committed
	if e != nil {
		return fmt.Errorf("table: %w", e)
	}
	w := csv.NewWriter(f)
	if errors.Is(err, fs.ErrNotExist) {
		_ = w.Write([]string{"figure", "line", "x", "y"})
	}
	_ = w.Write([]string{r.figure, r.line, text(r.x), strconv.FormatFloat(r.y, 'g', 5, 64)})
	w.Flush()
	return errors.Join(w.Error(), f.Close())
}

// load reads all measurements and takes the median of those of one point.
func load(dir string) ([]row, error) {
	f, err := os.Open(filepath.Join(dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	type place struct {
		figure, line string
		x            float64
	}
	var order []place
	runs := map[place][]float64{}
	for i, line := range lines {
		if i == 0 {
			continue
		}
		x, errX := strconv.ParseFloat(line[2], 64)
		y, errY := strconv.ParseFloat(line[3], 64)
		if err := errors.Join(errX, errY); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		p := place{line[0], line[1], x}
		if runs[p] == nil {
			order = append(order, p)
		}
		runs[p] = append(runs[p], y)
	}
	var rows []row
	for _, p := range order {
		ys := slices.Sorted(slices.Values(runs[p]))
		rows = append(rows, row{p.figure, p.line, p.x, (ys[(len(ys)-1)/2] + ys[len(ys)/2]) / 2})
	}
	return rows, nil
}
