package proxytest

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"fanfare/internal/labtest"
)

const compose = "../../deploy/compose"

type service struct {
	Command     []string
	Environment map[string]string
	Volumes     []string
}

func services(t *testing.T) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal([]byte(labtest.Text(t, compose+"/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// TestComposeFiles: what the services mount is there, and Grafana's provisioning names what it mounts.
func TestComposeFiles(t *testing.T) {
	mounted := 0
	for name, s := range services(t) {
		for _, v := range s.Volumes {
			source, rest, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(source, ".") {
				continue
			}
			mounted++
			if source == "./fanfare.pem" { // README.md says how it is made
				continue
			}
			if found, _ := filepath.Glob(filepath.Join(compose, source)); found == nil || !strings.HasSuffix(rest, ":ro") {
				t.Errorf("%s: %s", name, v)
			}
		}
	}
	if mounted < 7 {
		t.Errorf("%d mounts", mounted)
	}
	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	if err := yaml.Unmarshal([]byte(labtest.Text(t, compose+"/grafana/datasource.yaml")), &sources); err != nil || len(sources.Datasources) != 1 || sources.Datasources[0].Type != "prometheus" {
		t.Errorf("%+v %v", sources, err)
	}
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := yaml.Unmarshal([]byte(labtest.Text(t, compose+"/grafana/dashboards.yaml")), &providers); err != nil || len(providers.Providers) != 1 ||
		!strings.Contains(fmt.Sprint(services(t)["grafana"].Volumes), ":"+providers.Providers[0].Options.Path+":ro") {
		t.Errorf("%+v %v", providers, err)
	}
}

// TestCompose starts the processes of compose.yaml with their commands and environments, on addresses of loopback
// instead of names: brokers and gateways, haproxy and Prometheus.
func TestCompose(t *testing.T) {
	if testing.Short() {
		t.Log("short: without programs")
		return
	}
	bin := labtest.Build(t)
	all := services(t)
	s := &site{pki: newPKI(t), front: freeFront(t)}
	names := []string{}
	for i, a := range labtest.Ports(t, 4) {
		port := a[strings.LastIndex(a, ":"):]
		if i < 2 {
			s.ports[i] = port[1:]
		}
		names = append(names, []string{":8000", ":8001", ":4222", ":6222"}[i], port)
	}
	for i := range 3 {
		names = append(names, fmt.Sprint("broker-", i+1), fmt.Sprintf("127.77.2.%d", 1+i), fmt.Sprint("gateway-", i+1), fmt.Sprintf("127.77.2.%d", 11+i))
	}
	here := strings.NewReplacer(names...)
	start := func(name, address string) *labtest.Node {
		c := all[name]
		env := []string{}
		for key, value := range c.Environment {
			value = strings.ReplaceAll(value, "${FANFARE_ADMIN_TOKEN:?make one up, see README.md}", "compose-admin-token-0123456789abcdef")
			if strings.HasPrefix(value, "${") {
				value = ""
			}
			if key != "FANFARE_BROKER_NAME" {
				value = here.Replace(value)
			}
			if strings.HasSuffix(key, "LISTEN") {
				value = address + value
			}
			if key == "FANFARE_DATA_DIR" {
				value = t.TempDir()
			}
			env = append(env, key+"="+value)
		}
		n := &labtest.Node{Addr: address + ":" + s.ports[0], Ops: address + ":" + s.ports[1]}
		n.Process = labtest.Start(t, name, bin, c.Command, env)
		return n
	}
	var brokers []*labtest.Node
	for i := range 3 {
		brokers = append(brokers, start(fmt.Sprint("broker-", i+1), fmt.Sprintf("127.77.2.%d", 1+i)))
	}
	for i := range 3 {
		s.gateways = append(s.gateways, start(fmt.Sprint("gateway-", i+1), fmt.Sprintf("127.77.2.%d", 11+i)))
	}
	for _, n := range append(brokers, s.gateways...) {
		n.AwaitReady(t, 60*time.Second)
	}
	haproxy(t, s)
	response, err := s.web(t, "").Get("https://" + host + "/console/")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the console: %d", response.StatusCode)
	}

	config := here.Replace(labtest.Text(t, compose+"/prometheus.yaml"))
	rules, err := filepath.Abs("../../deploy/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config = strings.NewReplacer("[rules.yaml]", "["+rules+"]", ": 10s", ": 1s").Replace(config)
	file := labtest.Write(t, "prometheus.yaml", config)
	if out, err := exec.CommandContext(t.Context(), labtest.Program(t, "promtool", "watch"), "check", "config", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	args := []string{}
	for _, arg := range all["prometheus"].Command {
		arg = strings.ReplaceAll(arg, "/etc/prometheus/prometheus.yaml", file)
		args = append(args, strings.ReplaceAll(arg, "path=/prometheus", "path="+t.TempDir()))
	}
	addr := labtest.Ports(t, 1)[0]
	labtest.Start(t, "prometheus", labtest.Program(t, "prometheus", "watch"), append(args, "--web.listen-address="+addr), nil)
	labtest.Await(t, 30*time.Second, "six targets are scraped", func() error {
		_, text, err := labtest.Get(t.Context(), "http://"+addr+"/api/v1/query?query=sum(up)")
		if err == nil && !strings.Contains(text, `"6"]`) {
			err = fmt.Errorf("%s", text)
		}
		return err
	})
}
