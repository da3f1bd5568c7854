package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/internal/labtest"
)

// prometheus is a real one that scrapes a cluster each second.
type prometheus struct {
	*labtest.Process
	addr string
}

// startPrometheus runs it with our rules, evaluated each second and without waiting before an alert fires: a test has
// no minutes. native: with native histograms, and then without classic ones.
func startPrometheus(t *testing.T, c *labtest.Cluster, native bool, with string) *prometheus {
	t.Helper()
	var text strings.Builder
	text.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n")
	for job, nodes := range map[string][]*labtest.Node{"fanfare": c.Gateways, "fanfare-broker": c.Brokers} {
		addrs := make([]string, 0, len(nodes))
		for _, n := range nodes {
			addrs = append(addrs, n.Ops)
		}
		fmt.Fprintf(&text, "  - job_name: %s\n    static_configs: [{targets: [%s], labels: {namespace: test}}]\n", job, strings.Join(addrs, ", "))
	}
	rules := strings.ReplaceAll(labtest.Text(t, rulesFile), "interval: 30s", "interval: 1s")
	lines := strings.Split(rules, "\n")
	kept := lines[:0]
	for _, line := range lines {
		if !strings.HasPrefix(line, "        for: ") {
			kept = append(kept, line)
		}
	}
	config := labtest.Write(t, "prometheus.yaml", strings.ReplaceAll(text.String(), "rules.yaml", labtest.Write(t, "rules.yaml", strings.Join(kept, "\n"))))
	p := &prometheus{addr: labtest.Ports(t, 1)[0]}
	features := "exemplar-storage"
	if native {
		features += ",native-histograms"
	}
	p.Process = labtest.Start(t, "prometheus-"+with, labtest.Program(t, "prometheus", "watch"), []string{
		"--config.file=" + config, "--storage.tsdb.path=" + t.TempDir(), "--web.listen-address=" + p.addr, "--enable-feature=" + features, "--log.level=warn",
	}, nil)
	labtest.Await(t, 30*time.Second, "prometheus", func() error {
		_, err := p.query(t.Context(), "1")
		return err
	})
	return p
}

// sample is one result of a query.
type sample struct {
	Labels    map[string]string
	Value     float64
	Histogram bool
	Buckets   int
}

func (p *prometheus) get(ctx context.Context, path string, values url.Values, into any) error {
	status, text, err := labtest.Get(ctx, "http://"+p.addr+path+"?"+values.Encode())
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("%s: %d %s %w", path, status, answer.Error, err)
	}
	return json.Unmarshal(answer.Data, into)
}

// query evaluates an expression now.
func (p *prometheus) query(ctx context.Context, expr string) ([]sample, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.get(ctx, "/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	if data.ResultType == "scalar" {
		return []sample{{}}, nil
	}
	var vector []struct {
		Metric    map[string]string
		Value     []any
		Histogram []any
	}
	if err := json.Unmarshal(data.Result, &vector); err != nil {
		return nil, err
	}
	out := make([]sample, 0, len(vector))
	for _, v := range vector {
		one := sample{Labels: v.Metric, Histogram: v.Histogram != nil}
		if one.Histogram {
			h, _ := v.Histogram[1].(map[string]any)
			buckets, _ := h["buckets"].([]any)
			one.Buckets = len(buckets)
			one.Value, _ = strconv.ParseFloat(fmt.Sprint(h["count"]), 64)
		} else {
			one.Value, _ = strconv.ParseFloat(fmt.Sprint(v.Value[1]), 64)
		}
		out = append(out, one)
	}
	return out, nil
}

// firing are the alerts that fire, with what they are about.
func (p *prometheus) firing(ctx context.Context) (map[string][]map[string]string, error) {
	list, err := p.query(ctx, `ALERTS{alertstate="firing"}`)
	out := map[string][]map[string]string{}
	for _, a := range list {
		out[a.Labels["alertname"]] = append(out[a.Labels["alertname"]], a.Labels)
	}
	return out, err
}

// sensible tells what is wrong with the results of a panel's query.
func sensible(p boardPanel, list []sample) error {
	numbers := 0
	for _, s := range list {
		if math.IsNaN(s.Value) { // of a histogram without observations
			continue
		}
		numbers++
		unit := p.FieldConfig.Defaults.Unit
		switch {
		case s.Value < 0 || math.IsInf(s.Value, 0):
			return fmt.Errorf("%v %v", s.Labels, s.Value)
		case unit == "percentunit" && p.Title != "CPU" && s.Value > 1:
			return fmt.Errorf("%v is %v of the whole", s.Labels, s.Value)
		case unit == "s" && p.Title != "Certificate expires in" && p.Type != kindHeatmap && s.Value > 600:
			return fmt.Errorf("%v is %v seconds", s.Labels, s.Value)
		case s.Histogram && s.Value > 0 && s.Buckets == 0:
			return fmt.Errorf("%v has no buckets", s.Labels)
		}
	}
	if numbers == 0 {
		return fmt.Errorf("nothing among %d results", len(list))
	}
	return nil
}
