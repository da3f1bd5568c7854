package proxytest

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/labtest"
)

// proxy is one program with a configuration of deploy/.
type proxy struct {
	name   string
	start  func(*testing.T, *site) *labtest.Process
	reload bool // SIGHUP reloads it, and sockets stay
}

var proxies = []proxy{
	{name: "haproxy", start: haproxy},
	{name: "nginx", start: func(t *testing.T, s *site) *labtest.Process { return nginx(t, s, "nginx/fanfare.conf") }, reload: true},
	{name: "caddy", start: func(t *testing.T, s *site) *labtest.Process {
		return caddy(t, s, "caddy/Caddyfile", host)
	}},
}

// The times of the configurations, shortened: gateways ping each second here instead of each 25.
func haproxy(t *testing.T, s *site) *labtest.Process {
	t.Helper()
	bin := labtest.Program(t, "haproxy", "proxies")
	file := labtest.Write(t, "haproxy.cfg", s.config(t, "haproxy/haproxy.cfg",
		"bind :443", "bind "+s.front, "/etc/haproxy/fanfare.pem", s.pki.both, "check port 8001", "check port "+s.ports[1],
		"timeout tunnel 1h", "timeout tunnel 3s", "timeout client 30s", "timeout client 2s", "timeout server 30s", "timeout server 2s",
		"maxconn 200000", "maxconn 2000"))
	check(t, bin, "-c", "-f", file)
	return await(t, s, host, labtest.Start(t, "haproxy", bin, []string{"-db", "-f", file}, nil))
}

func nginx(t *testing.T, s *site, conf string, more ...string) *labtest.Process {
	t.Helper()
	bin := labtest.Program(t, "nginx", "proxies")
	site := labtest.Write(t, "site.conf", s.config(t, conf, append([]string{
		"listen 443 ssl", "listen " + s.front + " ssl",
		"/etc/nginx/fanfare.crt", s.pki.cert, "/etc/nginx/fanfare.key", s.pki.key,
		"proxy_read_timeout 1h", "proxy_read_timeout 3s", "proxy_send_timeout 1h", "proxy_send_timeout 3s",
	}, more...)...))
	dir := t.TempDir()
	file := labtest.Write(t, "nginx.conf", fmt.Sprintf(`pid %[1]s/pid; error_log stderr warn; daemon off; worker_processes 2;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s; include %[2]s; }
`, dir, site))
	check(t, bin, "-t", "-c", file)
	return await(t, s, host, labtest.Start(t, "nginx", bin, []string{"-c", file}, nil))
}

func caddy(t *testing.T, s *site, conf, name string, more ...string) *labtest.Process {
	t.Helper()
	bin := labtest.Program(t, "caddy", "proxies")
	ip, port, _ := net.SplitHostPort(s.front)
	text := s.config(t, conf, append([]string{
		"health_port 8001", "health_port " + s.ports[1],
		// A name of its own would be asked a certificate for; here there is one already.
		name + " {\n", fmt.Sprintf("{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\nhttps://%s:%s, https://%s:%s {\n\tbind %s\n\ttls %s %s\n", name, port, ip, port, ip, s.pki.cert, s.pki.key),
	}, more...)...)
	// The options of the whole server must come first, before comments even.
	at := strings.Index(text, "{\n\tadmin off")
	file := labtest.Write(t, "Caddyfile", text[at:])
	env := []string{"XDG_DATA_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir(), "HOME=" + t.TempDir()}
	check(t, bin, "validate", "--adapter", "caddyfile", "--config", file)
	return await(t, s, name, labtest.Start(t, "caddy", bin, []string{"run", "--adapter", "caddyfile", "--config", file}, env))
}

// check runs the proxy's own check of its configuration.
func check(t *testing.T, bin string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", bin, args, err, out)
	}
}

// await waits until a gateway answers through the proxy.
func await(t *testing.T, s *site, name string, p *labtest.Process) *labtest.Process {
	t.Helper()
	web := s.web(t, "")
	labtest.Await(t, 20*time.Second, p.Name, func() error {
		if p.Ended() {
			return fmt.Errorf("ended: %s", p.Output(5))
		}
		response, err := web.Get("https://" + name + "/rt/demo")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != 426 { // "this address speaks WebSocket": of a gateway
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	})
	return p
}

func reload(p *labtest.Process) { p.Signal(syscall.SIGHUP) }
