package proxytest

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"fanfare/internal/labtest"
)

// standIn answers for Xano, by TLS under its name: it echoes what it is posted.
func standIn(t *testing.T, s *site) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != xano || r.TLS == nil || r.TLS.ServerName != xano || strings.HasPrefix(r.URL.Path, "/rt/") {
			t.Errorf("Xano was asked for %s%s by the name %s", r.Host, r.URL.Path, r.TLS.ServerName)
		}
		body, _ := io.ReadAll(io.LimitReader(r.Body, 8<<20))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		if len(body) > 1<<20 {
			_ = json.NewEncoder(w).Encode(map[string]any{"bytes": len(body), "authorization": r.Header.Get("Authorization"), "query": r.URL.RawQuery})
			return
		}
		answer := map[string]any{}
		_ = json.Unmarshal(body, &answer)
		answer["path"], answer["bytes"] = r.URL.EscapedPath(), len(body)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{s.pki.pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), asked
}

// TestWeWeb: one host name, sockets at the gateways and everything else at Xano.
func TestWeWeb(t *testing.T) {
	if testing.Short() {
		t.Log("short: without programs")
		return
	}
	for _, p := range []struct {
		name  string
		start func(*testing.T, *site, string) *labtest.Process
	}{
		{"nginx", func(t *testing.T, s *site, upstream string) *labtest.Process {
			return nginx(t, s, "nginx/weweb.conf", "proxy_pass https://"+xano, "proxy_pass https://"+upstream, "/etc/ssl/certs/ca-certificates.crt", s.pki.ca)
		}},
		{"caddy", func(t *testing.T, s *site, upstream string) *labtest.Process {
			return caddy(t, s, "caddy/weweb.Caddyfile", "api.example.com", "reverse_proxy https://"+xano, "reverse_proxy https://"+upstream,
				"tls_server_name "+xano, "tls_server_name "+xano+"\n\t\t\t\ttls_trusted_ca_certs "+s.pki.ca)
		}},
	} {
		t.Run(p.name, func(t *testing.T) {
			s := newSite(t)
			upstream, asked := standIn(t, s)
			p.start(t, s, upstream)
			for _, sdk := range []string{"xano-sdk-2", "@xano/js-sdk"} { // WeWeb's plugin has 2.0.1
				checkSDK(t, s, sdk, "yes")
			}
			if asked.Load() != 4 {
				t.Errorf("Xano was asked %d times", asked.Load())
			}
			// An upload goes through whole, with its headers and query.
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.example.com/api:AbC123/upload?x=1&y=%2F", strings.NewReader(strings.Repeat("x", 3<<20)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer of-the-user")
			request.Header.Set("Origin", "https://app.weweb.example")
			response, err := s.web(t, "").Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if want := `{"authorization":"Bearer of-the-user","bytes":3145728,"query":"x=1\u0026y=%2F"}`; strings.TrimSpace(string(text)) != want || err != nil {
				t.Errorf("%s, want %s", text, want)
			}
			if response.Header.Get("Access-Control-Allow-Origin") != "https://app.weweb.example" {
				t.Error("Xano's headers are lost")
			}
			// Addresses of Fanfare other than sockets are not shown on this name.
			answer, err := s.web(t, "").Get("https://api.example.com/console/")
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if asked.Load() != 6 {
				t.Errorf("/console/ did not go to Xano: %d", answer.StatusCode)
			}
		})
	}
}
