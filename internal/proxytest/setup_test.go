package proxytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/internal/labtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	settings = `servers:
  - id: 1
    name: proxies
    enabled: true
    hash: demo
    channels:
      - {id: 1, pattern: room1, enabled: true, anonymous_clients: true, presence: true, history: 1000, client_public_messaging: true}
`
	jwtSecret = "proxy-jwt-secret-0123456789abcdef0123456789"
	host      = "rt.example.com"
	xano      = "instance.xano.example"
)

// site is three gateways with one broker, each gateway on an address of its own with the ports of the others.
type site struct {
	gateways []*labtest.Node
	ports    [2]string // of clients, of operations
	pki      pki
	front    string // host:port of the proxy
}

// newSite starts everything behind a proxy. env is for the gateways.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	bin := labtest.Build(t) // from the cache, but for the first time
	broker := labtest.Run(t, bin, 1, 0).Brokers[0]
	s := &site{pki: newPKI(t)}
	for i, a := range labtest.Ports(t, 2) {
		_, s.ports[i], _ = net.SplitHostPort(a)
	}
	file := labtest.Write(t, "settings.yaml", settings)
	for i := range 3 {
		address := fmt.Sprintf("127.77.0.%d", 11+i)
		s.gateways = append(s.gateways, labtest.StartNode(t, bin, fmt.Sprint("gateway-", i+1), "serve", address+":"+s.ports[0], address+":"+s.ports[1],
			append([]string{
				"FANFARE_LISTEN=" + address + ":" + s.ports[0], "FANFARE_NATS_URLS=nats://" + broker.Addr, "FANFARE_NATS_REPLICAS=1",
				"FANFARE_SETTINGS_FILE=" + file, "FANFARE_AUTH_JWT_SECRET=" + jwtSecret, "FANFARE_TRUSTED_PROXIES=127.0.0.1",
				"FANFARE_LIMITS_PING_INTERVAL=500ms", "FANFARE_LIMITS_SOCKETS_PER_ADDRESS=25",
			}, env...)...))
	}
	for _, g := range s.gateways {
		g.AwaitReady(t, 60*time.Second)
	}
	s.front = freeFront(t)
	return s
}

// freeFront is an address for the proxy: port 443, which is the only one that the SDK dials, on an address of loopback
// of the test's own; where this user may not have it, another port.
func freeFront(t *testing.T) string {
	t.Helper()
	for i := range 50 {
		addr := fmt.Sprintf("127.77.1.%d:443", 1+(os.Getpid()+i)%250)
		if l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	return labtest.Ports(t, 1)[0]
}

// config reads a configuration from deploy/ and changes what a test must: all of it has to be there.
func (s *site) config(t *testing.T, file string, more ...string) string {
	t.Helper()
	text := labtest.Text(t, filepath.Join("../../deploy", file))
	change := append([]string{}, more...)
	for i, g := range s.gateways {
		ip, _, _ := net.SplitHostPort(g.Addr)
		change = append(change, fmt.Sprintf("gateway-%d:8000", i+1), ip+":"+s.ports[0])
	}
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			t.Fatalf("%s does not have %q any more", file, change[i])
		}
		text = strings.ReplaceAll(text, change[i], change[i+1])
	}
	return text
}

// dialer makes connections to the proxy whatever name is asked for, from an address of loopback.
func (s *site) dialer(from string) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", s.front) }
}

// web is a client that trusts our certificates and resolves our names.
func (s *site) web(t *testing.T, from string) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: s.dialer(from), TLSClientConfig: &tls.Config{RootCAs: s.pki.pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// sockets reads how many each gateway has.
func (s *site) sockets(t *testing.T) (out []int) {
	t.Helper()
	for _, g := range s.gateways {
		n := -1
		if _, text, err := labtest.Get(t.Context(), "http://"+g.Ops+"/metrics"); err == nil {
			for line := range strings.SplitSeq(text, "\n") {
				if _, err := fmt.Sscanf(line, "fanfare_sessions %d", &n); err == nil {
					break
				}
			}
		}
		out = append(out, n)
	}
	return out
}

// pki is a certificate authority and a certificate for the names of the tests.
type pki struct {
	pool          *x509.CertPool
	ca, cert, key string // files
	both          string // certificate and key in one file, as haproxy wants it
	pair          tls.Certificate
}

func newPKI(t *testing.T) pki {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca.Subject.CommonName = "tests"
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host, "api.example.com", xano}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for i := range 255 {
		leaf.IPAddresses = append(leaf.IPAddresses, net.IPv4(127, 77, 1, byte(i)))
	}
	leaf.IPAddresses = append(leaf.IPAddresses, net.IPv4(127, 0, 0, 1))
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	p := pki{pool: x509.NewCertPool()}
	caPEM, certPEM, keyPEM := block("CERTIFICATE", caDER), block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
	p.pool.AppendCertsFromPEM([]byte(caPEM))
	p.ca, p.cert, p.key = labtest.Write(t, "ca.pem", caPEM), labtest.Write(t, "cert.pem", certPEM), labtest.Write(t, "key.pem", keyPEM)
	p.both = labtest.Write(t, "both.pem", certPEM+keyPEM)
	p.pair, err = tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	must(err)
	return p
}
