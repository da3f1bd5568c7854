package natsd

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// User is the name that gateways and peers sign in with; what counts is the password.
const User = "fanfare"

// TLSFiles are the PEM files of a server. Cert and Key are read at each handshake, so that a renewed certificate
// needs no restart; CA is read once.
type TLSFiles struct {
	Cert, Key string
	// CA signs the peers' certificates, and must when there is a cluster: they show theirs to each other.
	CA string
	// Verify: gateways must show a certificate that CA signed too.
	Verify bool
}

// passwords checks who signs in against some that are all valid, so that one can be replaced while the others are
// still in use.
type passwords [][sha256.Size]byte

func newPasswords(texts []string) passwords {
	var out passwords
	for _, text := range texts {
		out = append(out, sha256.Sum256([]byte(text)))
	}
	return out
}

// Check is called by NATS for each connection.
func (p passwords) Check(c server.ClientAuthentication) bool {
	given := sha256.Sum256([]byte(c.GetOpts().Password))
	valid := 0
	for _, password := range p {
		valid |= subtle.ConstantTimeCompare(given[:], password[:])
	}
	return valid == 1 && c.GetOpts().Username == User
}

// secure lays passwords and TLS over the options of NATS.
func (s *Server) secure() error {
	if slices.Contains(s.o.Passwords, "") || slices.Contains(s.o.ClusterPasswords, "") {
		return errors.New("broker: an empty password")
	}
	if len(s.o.Passwords) > 0 {
		s.nso.CustomClientAuthentication = newPasswords(s.o.Passwords)
	}
	if len(s.o.ClusterPasswords) > 0 && s.o.ClusterListen != "" {
		s.nso.Cluster.Username, s.nso.Cluster.Password = User, s.o.ClusterPasswords[0] // for peers that others tell of
		s.nso.CustomRouterAuthentication = newPasswords(s.o.ClusterPasswords)
		for _, route := range s.nso.Routes {
			if route.User == nil {
				route.User = url.UserPassword(User, s.o.ClusterPasswords[0])
			}
		}
	}
	if s.o.TLS.Cert == "" {
		if s.o.TLS != (TLSFiles{}) {
			return errors.New("broker: TLS without a certificate")
		}
		return nil
	}
	return s.encrypt()
}

func (s *Server) encrypt() error {
	f := s.o.TLS
	certificate := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("broker certificate: %w", err)
		}
		return &pair, nil
	}
	if _, err := certificate(); err != nil {
		return err
	}
	var pool *x509.CertPool
	if f.CA != "" {
		content, err := os.ReadFile(f.CA)
		if err != nil {
			return fmt.Errorf("broker CA: %w", err)
		}
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(content) {
			return fmt.Errorf("broker CA: no certificate in %s", f.CA)
		}
	}
	if pool == nil && (f.Verify || s.o.ClusterListen != "") {
		return errors.New("broker: TLS needs a CA to check peers and gateways with")
	}
	config := func(clients tls.ClientAuthType) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: pool, ClientCAs: pool, ClientAuth: clients,
			GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() },
		}
	}
	gateways := tls.NoClientCert
	if f.Verify {
		gateways = tls.RequireAndVerifyClientCert
	}
	s.nso.TLS, s.nso.TLSVerify = true, f.Verify
	s.nso.TLSConfig = config(gateways)
	if s.o.ClusterListen != "" {
		s.nso.Cluster.TLSConfig = config(tls.RequireAndVerifyClientCert)
	}
	return nil
}

// notAfter is when the certificate in the files expires: the one that the next handshake shows.
func (s *Server) notAfter() (time.Time, error) {
	pair, err := tls.LoadX509KeyPair(s.o.TLS.Cert, s.o.TLS.Key)
	if err != nil {
		return time.Time{}, fmt.Errorf("broker certificate: %w", err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return time.Time{}, fmt.Errorf("broker certificate: %w", err)
		}
	}
	return pair.Leaf.NotAfter, nil
}

// openness is what an operator should know about who can reach the broker, for the log.
func (s *Server) openness() []any {
	return []any{slog.Bool("tls", s.nso.TLSConfig != nil), slog.Bool("passwords", s.nso.CustomClientAuthentication != nil)}
}
