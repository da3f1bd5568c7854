package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sample is what the gateways say of themselves, added up.
type sample struct {
	cpu, rss, heap, stack float64 // seconds, bytes
	flushes               float64
}

const maxMetrics = 16 << 20

// look scrapes the operations addresses; nil when none was given.
func (r *run) look(ctx context.Context) (*sample, error) {
	if len(r.o.Ops) == 0 {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	var s sample
	for _, address := range r.o.Ops {
		if err := s.scrape(ctx, r.http, address); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

func (s *sample) scrape(ctx context.Context, client *http.Client, address string) error {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	address = strings.TrimSuffix(strings.TrimSuffix(address, "/"), "/metrics") + "/metrics"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("operations address: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return &UsageError{fmt.Errorf("operations address: %w", err)}
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return &UsageError{fmt.Errorf("%s answered %s", address, response.Status)}
	}
	found := 0
	lines := bufio.NewScanner(io.LimitReader(response.Body, maxMetrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_cpu_seconds_total":
			s.cpu += value
			found++
		case "process_resident_memory_bytes":
			s.rss += value
		case "go_memstats_heap_inuse_bytes":
			s.heap += value
		case "go_memstats_stack_inuse_bytes":
			s.stack += value
		case "fanfare_flushes_total":
			s.flushes += value
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if found == 0 {
		return &UsageError{fmt.Errorf("%s has no process_cpu_seconds_total: is it the operations address of a gateway?", address)}
	}
	return nil
}
