//go:build chart

package chart_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func helm(args ...string) (out string, err error) {
	cmd := exec.Command("helm", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

type object map[string]any

// at follows a path of keys and numbers; nil when there is nothing.
func (o object) at(path string) any {
	var at any = map[string]any(o)
	for part := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(v) {
				return nil
			}
			at = v[i]
		default:
			return nil
		}
	}
	return at
}

func (o object) name() string { return fmt.Sprint(o.at("kind"), "/", o.at("metadata.name")) }

// render gives the objects of a release called rt by kind and name.
func render(t *testing.T, args ...string) map[string]object {
	t.Helper()
	text, err := helm(append([]string{"template", "rt", chart}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]object{}
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o map[string]any
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if o == nil {
			continue
		}
		name := object(o).name()
		if _, twice := out[name]; twice {
			t.Errorf("%s twice", name)
		}
		out[name] = o
	}
}

func want(t *testing.T, o object, path string, value any) {
	t.Helper()
	if got := o.at(path); fmt.Sprint(got) != fmt.Sprint(value) {
		t.Errorf("%s: %s is %v, want %v", o.name(), path, got, value)
	}
}

func TestLintAndRender(t *testing.T) {
	files, err := filepath.Glob(chart + "/ci/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if _, err := helm("lint", "--strict", "--quiet", chart, "-f", file); err != nil {
			t.Error(err)
		}
		for name, o := range render(t, "-f", file) {
			labels, _ := o.at("metadata.labels").(map[string]any)
			for _, label := range []string{"helm.sh/chart", "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"} {
				if labels[label] == nil {
					t.Errorf("%s: %s has no label %s", file, name, label)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	content, err := os.ReadFile("refused.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		n++
		args, text, ok := strings.Cut(line, " => ")
		if !ok {
			t.Fatalf("no => in %q", line)
		}
		_, err := helm(append([]string{"template", "rt", chart}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v\nwant %q", args, err, text)
		}
	}
	if n < 20 {
		t.Errorf("only %d", n)
	}
}

// TestContract: what other people's checks and manifests rely on.
func TestContract(t *testing.T) {
	all := render(t)
	gateway, broker := all["Deployment/rt-fanfare"], all["StatefulSet/rt-fanfare-broker"]
	want(t, gateway, "spec.replicas", 3)
	want(t, gateway, "spec.strategy.rollingUpdate.maxUnavailable", 0)
	want(t, gateway, "spec.template.spec.terminationGracePeriodSeconds", 5+30+20)
	want(t, gateway, "spec.template.spec.automountServiceAccountToken", false)
	want(t, gateway, "spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem", true)
	want(t, gateway, "spec.template.spec.securityContext.runAsUser", 65532)
	want(t, gateway, "spec.template.spec.containers.0.image", "fanfare:0.1.0")
	want(t, gateway, "spec.template.spec.containers.0.imagePullPolicy", "IfNotPresent")
	want(t, broker, "spec.replicas", 3)
	want(t, broker, "spec.podManagementPolicy", "Parallel")
	want(t, broker, "spec.template.spec.terminationGracePeriodSeconds", 10+30+30)
	want(t, broker, "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "10Gi")
	service := all["Service/rt-fanfare"]
	want(t, service, "spec.ports.0.name", "http")
	want(t, service, "spec.ports.0.port", 8000)
	want(t, service, "spec.ports.1.name", "metrics")
	want(t, service, "spec.ports.1.port", 8001)
	if all["Service/rt-fanfare-broker"] == nil {
		t.Error("no Service of the brokers")
	}
	// A release called like the chart is not doubled.
	text, err := helm("template", "my-fanfare", chart)
	if err != nil || strings.Contains(text, "name: my-fanfare-fanfare") || !strings.Contains(text, "name: my-fanfare-broker") {
		t.Error("names of a release that contains the chart's", err)
	}
	want(t, render(t, "--set", "config.drain=1m30s")["Deployment/rt-fanfare"], "spec.template.spec.terminationGracePeriodSeconds", 5+90+20)
	scaled := render(t, "--set", "autoscaling.enabled=true")
	want(t, scaled["Deployment/rt-fanfare"], "spec.replicas", nil)
	want(t, scaled["HorizontalPodAutoscaler/rt-fanfare"], "spec.metrics.1.pods.metric.name", "fanfare_sessions")
	metrics, err := os.ReadFile("../../docs/metrics.md")
	if err != nil || !bytes.Contains(metrics, []byte("| `fanfare_sessions` |")) {
		t.Error("fanfare_sessions is no metric", err)
	}
	policy := render(t, "--set", "networkPolicy.enabled=true")
	for _, name := range []string{"NetworkPolicy/rt-fanfare", "NetworkPolicy/rt-fanfare-broker"} {
		open := false
		rules, _ := policy[name].at("spec.ingress").([]any)
		for _, rule := range rules {
			r := object(rule.(map[string]any))
			open = open || fmt.Sprint(r.at("ports.0.port")) == "metrics" && r.at("from") == nil
		}
		if !open {
			t.Errorf("%s keeps Prometheus out", name)
		}
	}
}

// given are secrets, so that two renderings differ by what a test changes only.
var given = []string{
	"--set", "adminToken=a,apiKeys=b,jwtSecret=c,broker.auth.passwords={p},broker.auth.clusterPasswords={q},broker.tls.existingSecret=t",
}

// TestRolls: what changes rolls the gateways, and the brokers when it concerns them.
func TestRolls(t *testing.T) {
	template := func(args ...string) (gateway, broker string) {
		all := render(t, append(slices.Clone(given), args...)...)
		return fmt.Sprint(all["Deployment/rt-fanfare"].at("spec.template")), fmt.Sprint(all["StatefulSet/rt-fanfare-broker"].at("spec.template"))
	}
	gateway, broker := template()
	for change, rolls := range map[string]struct{ gateways, brokers bool }{
		"replicaCount=5":                             {false, false},
		"service.type=NodePort":                      {false, false},
		"config.limits.sockets=7":                    {true, false},
		"settings[0].id=1,settings[0].hash=abcdefgh": {true, false},
		"adminToken=x":                               {true, false},
		"apiKeys=x":                                  {true, false},
		"jwtSecret=x":                                {true, false},
		"config.auth.jwe_key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=": {true, false},
		"config.log.level=debug":           {true, true},
		"broker.auth.passwords={p,r}":      {false, true},
		"broker.auth.passwords={r,p}":      {true, true},
		"broker.auth.clusterPasswords={r}": {false, true},
		"broker.persistence.size=20Gi":     {false, true},
		"image.tag=x":                      {true, true},
	} {
		g, b := template("--set", change)
		if (g != gateway) != rolls.gateways || (b != broker) != rolls.brokers {
			t.Errorf("%s: rolls gateways %v, brokers %v; want %+v", change, g != gateway, b != broker, rolls)
		}
	}
}

// TestSecretsStayOut: nothing secret stands in a ConfigMap or in a pod's template, wherever it was given.
func TestSecretsStayOut(t *testing.T) {
	all := render(t, "--set", "config.admin_token=s3cret-a,config.api_keys={s3cret-b,s3cret-c},config.auth.jwt_secret=s3cret-d,config.nats.password=s3cret-e",
		"--set", "broker.auth.passwords={s3cret-f},broker.auth.clusterPasswords={s3cret-g}", "--set", "settings[0].id=1,settings[0].hash=s3cret-hash")
	found := map[string]bool{}
	for name, o := range all {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "Secret/") {
			if bytes.Contains(text, []byte("s3cret")) {
				t.Errorf("%s holds a secret", name)
			}
			continue
		}
		data, _ := o.at("data").(map[string]any)
		for key, value := range data {
			b, err := base64.StdEncoding.DecodeString(fmt.Sprint(value))
			if err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
			}
			for _, s := range regexp.MustCompile(`s3cret-[a-z]+`).FindAllString(string(b), -1) {
				found[s] = true
			}
		}
	}
	if len(found) != 8 {
		t.Errorf("in Secrets: %v", slices.Sorted(maps.Keys(found)))
	}
}

// TestMonitoring: rules and dashboards are in what is installed.
func TestMonitoring(t *testing.T) {
	dashboards, err := filepath.Glob(chart + "/files/dashboards/*.json")
	if err != nil || len(dashboards) == 0 {
		t.Fatal("no dashboards", err)
	}
	all := render(t, "--set", "prometheusRule.enabled=true,dashboards.enabled=true,serviceMonitor.enabled=true")
	if groups, _ := all["PrometheusRule/rt-fanfare"].at("spec.groups").([]any); len(groups) < 3 {
		t.Errorf("%d groups of rules", len(groups))
	}
	n := 0
	for name := range all {
		if strings.HasPrefix(name, "ConfigMap/rt-fanfare-dashboard-") {
			n++
		}
	}
	if n != len(dashboards) {
		t.Errorf("%d ConfigMaps with dashboards, %d dashboards", n, len(dashboards))
	}
}
