package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/broker/natsd"
	"fanfare/internal/natstest"
)

// authority signs certificates of a test and leaves them in files.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key, a.cert = a.issue(t, "ca")
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes NAME.crt and NAME.key for loopback, to be told apart by their serial number.
func (a *authority) issue(t *testing.T, name string) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage, template.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+"."+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func (a *authority) server() natsd.TLSFiles {
	return natsd.TLSFiles{Cert: a.file("node.crt"), Key: a.file("node.key"), CA: a.file("ca.crt"), Verify: true}
}

// signIn says what happens to a gateway.
func signIn(t *testing.T, o ConnectOptions) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Connect(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Control().FlushTimeout(5 * time.Second)
}

// refused tells whether one connection is turned away at once; Connect would try again and again.
func refused(url, user, password string, more ...nats.Option) bool {
	c, err := nats.Connect(url, append([]nats.Option{nats.UserInfo(user, password), nats.Timeout(5 * time.Second)}, more...)...)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// TestServerPasswords: any of the passwords opens, so that one can be replaced; nothing else does.
func TestServerPasswords(t *testing.T) {
	s, _ := runServer(t, natsd.ServerOptions{Name: "a", Listen: "127.0.0.1:0", DataDir: t.TempDir(), Sync: "1s", Passwords: []string{"old", "new"}})
	url := "nats://" + s.Addr()
	for _, password := range []string{"old", "new"} {
		if err := signIn(t, ConnectOptions{URLs: []string{url}, User: natsd.User, Password: password}); err != nil {
			t.Errorf("%s: %v", password, err)
		}
	}
	if !refused(url, "", "") || !refused(url, natsd.User, "") || !refused(url, natsd.User, "older") || !refused(url, "root", "old") {
		t.Error("a connection without a valid password was accepted")
	}
}

// TestServerClusterAccess: a cluster with TLS and passwords forms, through the steps of a rotation too, and keeps
// strangers out: gateways without a certificate, peers without the password.
func TestServerClusterAccess(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "node")
	var options []natsd.ServerOptions
	var routes []string
	for i := range 3 {
		o := natsd.ServerOptions{
			Name: fmt.Sprintf("broker-%d", i), Listen: freeAddr(t), ClusterListen: freeAddr(t), ClusterName: "test", DataDir: t.TempDir(), Sync: "1s",
			Passwords: []string{"gateways"}, ClusterPasswords: []string{"peers"}, TLS: a.server(),
		}
		routes = append(routes, "nats://"+o.ClusterListen)
		options = append(options, o)
	}
	// In the middle of a rotation: the second shows the new password already, the others accept it.
	options[0].ClusterPasswords, options[1].ClusterPasswords, options[2].ClusterPasswords = []string{"peers", "next"}, []string{"next", "peers"}, []string{"peers", "next"}
	var servers []*natsd.Server
	for i := range options {
		options[i].Routes = routes
		s, _ := runServer(t, options[i])
		servers = append(servers, s)
	}
	for _, s := range servers {
		natstest.Eventually(t, "health", func() bool { return s.Healthy() == nil })
	}
	stranger := options[0]
	stranger.Name, stranger.Listen, stranger.ClusterListen, stranger.DataDir, stranger.ClusterPasswords = "stranger", freeAddr(t), freeAddr(t), t.TempDir(), []string{"guess"}
	guest, _ := runServer(t, stranger)

	url := "tls://" + servers[0].Addr()
	if err := signIn(t, ConnectOptions{URLs: []string{url}, User: natsd.User, Password: "gateways", TLSCA: a.file("ca.crt"), TLSCert: a.file("node.crt"), TLSKey: a.file("node.key")}); err != nil {
		t.Error(err)
	}
	if !refused(url, natsd.User, "gateways", nats.RootCAs(a.file("ca.crt"))) {
		t.Error("a gateway without a certificate was accepted")
	}
	if !refused(url, natsd.User, "peers", nats.RootCAs(a.file("ca.crt")), nats.ClientCert(a.file("node.crt"), a.file("node.key"))) {
		t.Error("the password of the peers opened the port for gateways")
	}
	if guest.Healthy() == nil {
		t.Error("a peer without the password is in the cluster")
	}

	// A renewed certificate is in force without a restart.
	_, renewed := a.issue(t, "node")
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	pair, err := tls.LoadX509KeyPair(a.file("node.crt"), a.file("node.key"))
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan *big.Int, 1)
	c, err := nats.Connect(url, nats.UserInfo(natsd.User, "gateways"), nats.Secure(&tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair},
		VerifyConnection: func(state tls.ConnectionState) error {
			shown <- state.PeerCertificates[0].SerialNumber
			return nil
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-shown; got.Cmp(renewed.SerialNumber) != 0 {
		t.Errorf("the certificate in force is number %s, not %s", got, renewed.SerialNumber)
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(servers[0].Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	left := -1.0
	for _, f := range families {
		if f.GetName() == "fanfare_tls_certificate_expiry_seconds" {
			left = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	if left < 3000 || left > 3600 {
		t.Errorf("the certificate expires in %v s by its metric", left)
	}
}

func TestServerAccessRefused(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "node")
	for want, change := range map[string]func(*natsd.ServerOptions){
		"empty password":        func(o *natsd.ServerOptions) { o.Passwords = []string{"a", ""} },
		"without a certificate": func(o *natsd.ServerOptions) { o.TLS = natsd.TLSFiles{CA: a.file("ca.crt")} },
		"needs a CA": func(o *natsd.ServerOptions) {
			o.TLS = natsd.TLSFiles{Cert: a.file("node.crt"), Key: a.file("node.key")}
		},
		"no certificate in": func(o *natsd.ServerOptions) {
			o.TLS = a.server()
			o.TLS.CA = a.file("node.key")
		},
		"broker certificate": func(o *natsd.ServerOptions) {
			o.TLS = a.server()
			o.TLS.Key = a.file("ca.key")
		},
	} {
		o := natsd.ServerOptions{Name: "a", Listen: "127.0.0.1:0", ClusterListen: "127.0.0.1:0", ClusterName: "c", DataDir: t.TempDir()}
		change(&o)
		if _, err := natsd.NewServer(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
