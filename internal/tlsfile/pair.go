package tlsfile

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxFile bounds what is read as a certificate chain or a key.
const maxFile = 1 << 20

// Interval is how often the files are looked at.
const Interval = time.Second

// Options is what New needs.
type Options struct {
	Cert, Key string // paths of PEM files
	Logger    *slog.Logger
	// Registerer gets the metrics; nil = none.
	Registerer prometheus.Registerer
}

// Pair is a certificate in force and the files it comes from.
type Pair struct {
	opts    Options
	metrics *metrics
	current atomic.Pointer[tls.Certificate]

	// What the last look found, touched by New and then by Run alone.
	cert, key []byte
	failed    string
}

// New reads the pair.
func New(opts Options) (*Pair, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pair{opts: opts}
	if _, err := p.look(); err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Registerer, p)
	if err != nil {
		return nil, err
	}
	p.metrics = m
	return p, nil
}

// GetCertificate is for tls.Config.
func (p *Pair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.current.Load(), nil
}

// Config is a server's TLS configuration over the pair. It offers HTTP/1.1 alone: WebSocket needs no more, and
// a browser that was offered HTTP/2 would open a second connection for its sockets anyway.
func (p *Pair) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.GetCertificate, NextProtos: []string{"http/1.1"}}
}

// NotAfter is when the certificate in force expires.
func (p *Pair) NotAfter() time.Time { return p.current.Load().Leaf.NotAfter }

// Run looks at the files until ctx ends.
func (p *Pair) Run(ctx context.Context) error {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.reload()
		}
	}
}

// reload takes over what changed. A failure is told once and not at every look.
func (p *Pair) reload() {
	changed, err := p.look()
	if err != nil {
		if text := err.Error(); text != p.failed {
			p.failed = text
			p.metrics.reloads.WithLabelValues("failed").Inc()
			p.opts.Logger.Error("certificate not reloaded, the old one stays in force", "err", err, "expires", p.NotAfter())
		}
		return
	}
	if p.failed != "" && !changed {
		p.opts.Logger.Info("certificate files are whole again, unchanged")
	}
	p.failed = ""
	if changed {
		p.metrics.reloads.WithLabelValues("ok").Inc()
		p.opts.Logger.Info("certificate reloaded", "expires", p.NotAfter())
	}
}

// look reads both files and puts the pair in force when it is new and whole.
func (p *Pair) look() (changed bool, err error) {
	cert, err := read(p.opts.Cert)
	if err != nil {
		return false, err
	}
	key, err := read(p.opts.Key)
	if err != nil {
		return false, err
	}
	if bytes.Equal(cert, p.cert) && bytes.Equal(key, p.key) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("certificate %s with key %s: %s", p.opts.Cert, p.opts.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return false, fmt.Errorf("certificate %s: %w", p.opts.Cert, err)
		}
	}
	p.cert, p.key = cert, key
	p.current.Store(&pair)
	return true, nil
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("certificate: %s: %w", name, errTooLarge)
	}
	return b, nil
}

var errTooLarge = errors.New("larger than 1 MiB")
