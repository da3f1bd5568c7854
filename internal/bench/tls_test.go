package bench

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Over TLS everything is the same, and a certificate that nobody vouches for is refused.
func TestTLS(t *testing.T) {
	n, _ := startNode(t)
	donor := httptest.NewTLSServer(nil)
	t.Cleanup(donor.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", donor.TLS)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				up, err := net.Dial("tcp", n.Addr())
				if err != nil {
					return
				}
				defer up.Close()
				wg.Go(func() {
					_, _ = io.Copy(c, up)
					_ = c.Close()
				})
				_, _ = io.Copy(up, c)
			})
		}
	})
	o := Options{
		Scenario: FanOut, URLs: []string{"https://" + l.Addr().String()}, Hash: "bench", Channel: "live/t", Members: 5, Rate: 50,
		Duration: 200 * time.Millisecond,
	}
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a certificate of nobody is taken")
	}
	r, err := newRun(o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	r.targets[0].tls.RootCAs = x509.NewCertPool()
	r.targets[0].tls.RootCAs.AddCert(donor.Certificate())
	err = r.scenario(t.Context())
	r.hangUp()
	if err != nil {
		t.Fatal(err)
	}
	r.finish()
	good(t, r.result)
	if r.result.Deliveries.Received != 50 {
		t.Errorf("%+v", r.result.Deliveries)
	}
}
