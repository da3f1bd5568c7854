package tlsfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made is a self-signed certificate as PEM.
type made struct{ cert, key []byte }

func selfSigned(t *testing.T, name string, until time.Time) made {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return made{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// bench runs a Pair in a synctest bubble: one tick of the clock is one look at the files.
type bench struct {
	*Pair
	log      *bytes.Buffer
	registry *prometheus.Registry
}

func open(t *testing.T, cert, key string) *bench {
	t.Helper()
	b := &bench{log: &bytes.Buffer{}, registry: prometheus.NewRegistry()}
	p, err := New(Options{Cert: cert, Key: key, Logger: slog.New(slog.NewTextHandler(b.log, nil)), Registerer: b.registry})
	if err != nil {
		t.Fatal(err)
	}
	b.Pair = p
	go func() { _ = p.Run(t.Context()) }() // the bubble ends only when it has
	return b
}

// look lets the next look at the files happen and returns the name on the certificate in force.
func (b *bench) look() string {
	time.Sleep(Interval)
	synctest.Wait()
	c, _ := b.GetCertificate(nil)
	return c.Leaf.Subject.CommonName
}

func (b *bench) reloads(result string) int {
	return int(testutil.ToFloat64(b.metrics.reloads.WithLabelValues(result)))
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		one, two := selfSigned(t, "one", time.Now().Add(time.Hour)), selfSigned(t, "two", time.Now().Add(48*time.Hour))
		put(t, cert, one.cert)
		put(t, key, one.key)
		b := open(t, cert, key)
		if got := b.look(); got != "one" || b.log.Len() > 0 {
			t.Fatalf("%s %s", got, b.log)
		}
		if err := testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP fanfare_tls_certificate_expiry_seconds Time until the certificate in force expires; negative when it has.
# TYPE fanfare_tls_certificate_expiry_seconds gauge
fanfare_tls_certificate_expiry_seconds 3599
`), "fanfare_tls_certificate_expiry_seconds"); err != nil {
			t.Error(err)
		}

		put(t, cert, two.cert) // half replaced
		for range 5 {
			if got := b.look(); got != "one" {
				t.Fatalf("half a pair in force: %s", got)
			}
		}
		if n := strings.Count(b.log.String(), "level=ERROR"); n != 1 || b.reloads("failed") != 1 {
			t.Errorf("told %d times: %s", n, b.log)
		}
		put(t, key, two.key)
		if got := b.look(); got != "two" || b.reloads("ok") != 1 {
			t.Errorf("not reloaded: %s %s", got, b.log)
		}
		for _, broken := range []string{"", "nonsense", string(one.cert)} {
			put(t, cert, []byte(broken))
			if got := b.look(); got != "two" {
				t.Errorf("%q brought %s in force", broken, got)
			}
		}
		if err := os.Remove(cert); err != nil {
			t.Fatal(err)
		}
		if got := b.look(); got != "two" {
			t.Errorf("without a file: %s", got)
		}
		put(t, cert, bytes.Repeat([]byte("x"), maxFile+1))
		if got := b.look(); got != "two" || !strings.Contains(b.log.String(), "larger than 1 MiB") {
			t.Errorf("a huge file: %s %s", got, b.log)
		}
		put(t, cert, two.cert)
		if got := b.look(); got != "two" || !strings.Contains(b.log.String(), "whole again") {
			t.Errorf("%s %s", got, b.log)
		}
		put(t, cert, one.cert)
		put(t, key, one.key)
		if got := b.look(); got != "one" {
			t.Errorf("the way back: %s", got)
		}
		if strings.Contains(b.log.String(), "PRIVATE") {
			t.Error("the key is in the log")
		}
	})
}

// A change within the same second that keeps size and time must be seen too.
func TestReloadWithSameTimeAndSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		stamp := time.Unix(1_700_000_000, 0)
		place := func(m made) {
			put(t, cert, m.cert)
			put(t, key, m.key)
			for _, f := range []string{cert, key} {
				if err := os.Chtimes(f, stamp, stamp); err != nil {
					t.Fatal(err)
				}
			}
		}
		place(selfSigned(t, "one", time.Now().Add(time.Hour)))
		b := open(t, cert, key)
		place(selfSigned(t, "two", time.Now().Add(time.Hour)))
		if got := b.look(); got != "two" {
			t.Error(got)
		}
	})
}

// Kubernetes mounts a Secret as links to ..data/FILE, where ..data is a link to a dated directory, and turns
// ..data over to a new one in one step.
func TestSymlinkSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		place := func(version string, m made) {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, version, "tls.crt"), m.cert)
			put(t, filepath.Join(dir, version, "tls.key"), m.key)
			if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		place("..1", selfSigned(t, "one", time.Now().Add(time.Hour)))
		cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		for _, f := range []string{cert, key} {
			if err := os.Symlink(filepath.Join("..data", filepath.Base(f)), f); err != nil {
				t.Fatal(err)
			}
		}
		b := open(t, cert, key)
		place("..2", selfSigned(t, "two", time.Now().Add(time.Hour)))
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		if got := b.look(); got != "two" || b.reloads("failed") != 0 {
			t.Errorf("%s %s", got, b.log)
		}
	})
}

func TestNewFails(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	one, two := selfSigned(t, "one", time.Now().Add(time.Hour)), selfSigned(t, "two", time.Now().Add(time.Hour))
	if _, err := New(Options{Cert: cert, Key: key}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	put(t, cert, one.cert)
	put(t, key, two.key)
	if _, err := New(Options{Cert: cert, Key: key}); err == nil || !strings.Contains(err.Error(), "private key does not match public key") {
		t.Error(err)
	}
	put(t, key, one.key)
	registry := prometheus.NewRegistry()
	for i := range 2 {
		if _, err := New(Options{Cert: cert, Key: key, Registerer: registry}); (err != nil) != (i == 1) {
			t.Error(err)
		}
	}
}

// New connections get the new certificate, old ones go on.
func TestHandshake(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	one, two := selfSigned(t, "one", time.Now().Add(time.Hour)), selfSigned(t, "two", time.Now().Add(time.Hour))
	put(t, cert, one.cert)
	put(t, key, one.key)
	p, err := New(Options{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (*tls.Conn, *tls.Conn) {
		a, b := net.Pipe()
		server, client := tls.Server(a, p.Config()), tls.Client(b, &tls.Config{InsecureSkipVerify: true})
		done := make(chan error, 1)
		go func() { done <- server.HandshakeContext(t.Context()) }()
		if err := client.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return server, client
	}
	name := func(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].Subject.CommonName }
	oldServer, old := dial()
	put(t, cert, two.cert)
	put(t, key, two.key)
	p.reload()
	if _, fresh := dial(); name(fresh) != "two" || name(old) != "one" {
		t.Errorf("new %s, old %s", name(fresh), name(old))
	}
	go func() { _, _ = oldServer.Write([]byte("x")) }()
	if n, err := old.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the old connection broke: %v", err)
	}
}
