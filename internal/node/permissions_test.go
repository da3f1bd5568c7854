package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"fanfare/client"
	"fanfare/internal/config"
	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// secured is a stock NATS server with deploy/nats/gateway.conf: TLS on both sides, and identities.
type secured struct {
	url, ca, cert, key string
	gateway, setup     string // files with seeds
	dir                string
}

const gatewayConf = "../../deploy/nats/gateway.conf"

// startSecured runs the server with the configuration as edit leaves it.
func startSecured(t *testing.T, edit func(conf string) string) *secured {
	t.Helper()
	s := &secured{dir: t.TempDir()}
	s.ca, s.cert, s.key = certificates(t, s.dir)
	for name, file := range map[string]*string{"GATEWAY": &s.gateway, "SETUP": &s.setup} {
		pair := must(nkeys.CreateUser())
		*file = s.write(t, strings.ToLower(name)+".nk", string(must(pair.Seed())))
		t.Setenv("FANFARE_"+name+"_NKEY", must(pair.PublicKey()))
	}
	s.write(t, "gateway.conf", edit(string(must(os.ReadFile(gatewayConf)))))
	s.run(t, `include ./gateway.conf`)
	return s
}

func (s *secured) run(t *testing.T, accounts string) {
	t.Helper()
	conf := s.write(t, "nats.conf", fmt.Sprintf(`
listen: "127.0.0.1:-1"
server_name: secured
jetstream: { store_dir: %q, max_file_store: 1GB, sync_interval: 1s }
max_payload: 8MB
tls: { cert_file: %q, key_file: %q, ca_file: %q, verify: true }
%s
`, filepath.Join(s.dir, "store"), s.cert, s.key, s.ca, accounts))
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog, o.DisableJetStreamBanner = true, true, true
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("not ready")
	}
	s.url = "tls://" + srv.Addr().String()
}

func (s *secured) write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// as is the configuration of a gateway that signs in with a file.
func (s *secured) as(creds string) func(*config.Config) {
	return func(c *config.Config) {
		c.NATS.URLs = []config.Address{config.NewAddress(s.url)}
		c.NATS.Creds, c.NATS.TLS = creds, config.NATSTLS{CA: s.ca, Cert: s.cert, Key: s.key}
		c.NATS.Replicas = 1
	}
}

func (s *secured) configuration(t *testing.T, creds string) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.OpsListen, cfg.DataDir = "127.0.0.1:0", "", t.TempDir()
	s.as(creds)(&cfg)
	return cfg
}

// certificates makes an authority and one certificate for both sides.
func certificates(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		own := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		if signer == nil {
			signer = own
		}
		return must(x509.CreateCertificate(rand.Reader, template, parent, &own.PublicKey, signer)), own
	}
	save := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	until := time.Now().Add(time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: until, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, caKey := issue(authority, authority, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	leafDER, leafKey := issue(leaf, authority, caKey)
	return save("ca.pem", "CERTIFICATE", caDER), save("cert.pem", "CERTIFICATE", leafDER),
		save("key.pem", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(leafKey)))
}

// TestPermissions: two gateways do all they do, over a stock nats-server with TLS and exactly the permissions that
// are documented; streams are made by another identity.
func TestPermissions(t *testing.T) {
	s := startSecured(t, func(conf string) string { return conf })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	// A gateway may not make the streams, and says so at once.
	n, err := New(s.configuration(t, s.gateway), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = n.Run(ctx)
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), `$JS.API.STREAM.CREATE.FANFARE_HISTORY_0`) || !strings.Contains(err.Error(), "fanfare setup") {
		t.Fatalf("without streams: %v", err)
	}

	if err := Setup(ctx, s.configuration(t, s.setup), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := Setup(ctx, s.configuration(t, s.setup), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("again: %v", err)
	}
	everything(t, start(t, s.as(s.gateway)), start(t, s.as(s.gateway)))
}

// TestPermissionsMissing: without one of them a gateway does not start, and one line says which.
func TestPermissionsMissing(t *testing.T) {
	s := startSecured(t, func(conf string) string {
		return strings.Replace(conf, `    "fanfare.p.>"`+"\n", "", 1)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := Setup(ctx, s.configuration(t, s.setup), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	// What is needed later only is noticed then, and logged.
	a := start(t, s.as(s.gateway))
	c := dial(t, a)
	if err := c.Channel("room1", client.ChannelOptions{Presence: true}).Join(ctx); err != nil {
		t.Logf("join: %v", err)
	}
	natstest.Eventually(t, "the refusal", func() bool { return a.client.Denial() != nil })
	if text := a.client.Denial().Error(); !strings.Contains(text, "fanfare.p.") {
		t.Error(text)
	}
}

// TestPermissionsCreds: the same with an operator's JWTs, where the permissions stand in the user's.
func TestPermissionsCreds(t *testing.T) {
	s := &secured{dir: t.TempDir()}
	s.ca, s.cert, s.key = certificates(t, s.dir)
	t.Setenv("FANFARE_GATEWAY_NKEY", must(must(nkeys.CreateUser()).PublicKey()))
	t.Setenv("FANFARE_SETUP_NKEY", must(must(nkeys.CreateUser()).PublicKey()))
	plain, err := server.ProcessConfigFile(gatewayConf)
	if err != nil {
		t.Fatal(err)
	}
	operator, account, system := must(nkeys.CreateOperator()), must(nkeys.CreateAccount()), must(nkeys.CreateAccount())
	public := func(k nkeys.KeyPair) string { return must(k.PublicKey()) }
	claims := jwt.NewAccountClaims(public(account))
	claims.Limits.DiskStorage, claims.Limits.MemoryStorage, claims.Limits.Streams, claims.Limits.Consumer = 1<<30, 1<<20, 64, 1000
	operatorClaims := jwt.NewOperatorClaims(public(operator))
	operatorClaims.SystemAccount = public(system)
	creds := map[string]string{}
	for _, u := range plain.Nkeys {
		pair := must(nkeys.CreateUser())
		user := jwt.NewUserClaims(public(pair))
		user.Pub.Allow.Add(u.Permissions.Publish.Allow...)
		user.Sub.Allow.Add(u.Permissions.Subscribe.Allow...)
		text := must(jwt.FormatUserConfig(must(user.Encode(account)), must(pair.Seed())))
		creds[u.Nkey] = s.write(t, u.Nkey+".creds", string(text))
	}
	s.run(t, fmt.Sprintf("operator: %q\nresolver: MEMORY\nresolver_preload: { %s: %q, %s: %q }",
		must(operatorClaims.Encode(operator)),
		public(account), must(claims.Encode(operator)),
		public(system), must(jwt.NewAccountClaims(public(system)).Encode(operator))))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := Setup(ctx, s.configuration(t, creds[os.Getenv("FANFARE_SETUP_NKEY")]), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	gateway := creds[os.Getenv("FANFARE_GATEWAY_NKEY")]
	everything(t, start(t, s.as(gateway)), start(t, s.as(gateway)))
}

func dial(t *testing.T, n *Node) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), "ws://"+n.Addr()+"/rt/demo", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// everything uses what needs the broker: stored and live messages, history, presence, private messages, a pattern,
// settings, and the end of sockets elsewhere.
func everything(t *testing.T, a, b *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	join := func(c *client.Client, name string) *client.Channel {
		t.Helper()
		ch := c.Channel(name, client.ChannelOptions{Presence: true, History: true})
		if err := ch.Join(ctx); err != nil {
			t.Fatal(err)
		}
		return ch
	}
	next := func(ch *client.Channel, what string, want func(client.Event) bool) {
		t.Helper()
		for {
			e, err := ch.Next(ctx)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if want(e) {
				return
			}
		}
	}
	message := func(text string) func(client.Event) bool {
		return func(e client.Event) bool { m, ok := e.(*client.Message); return ok && string(m.Data) == `"`+text+`"` }
	}
	ca, cb := dial(t, a), dial(t, b)
	for _, name := range []string{"room1", "chat/sports"} {
		one, other := join(ca, name), join(cb, name)
		self := other.Self().Socket
		next(one, "presence", func(e client.Event) bool {
			p, ok := e.(*client.PresenceChange)
			return ok && p.Action == protocol.PresenceJoin && p.Member.Socket == self
		})
		if _, err := one.Send(ctx, "hello"); err != nil {
			t.Fatal(err)
		}
		next(other, "a message", message("hello"))
		if page, err := other.History(ctx, client.HistoryQuery{Limit: 5}); err != nil || name == "room1" && len(page.Messages) != 1 {
			t.Errorf("history of %s: %+v %v", name, page, err)
		}
		if _, err := one.SendTo(ctx, "psst", client.SendOptions{To: self}); err != nil {
			t.Fatal(err)
		}
		next(other, "a private message", message("psst"))
	}
	if err := cb.Close(); err != nil {
		t.Error(err)
	}
	for _, n := range []*Node{a, b} {
		if err := n.client.Denial(); err != nil {
			t.Error(err)
		}
	}
}
