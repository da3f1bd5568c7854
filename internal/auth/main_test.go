package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"fanfare/internal/auth"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "a secret of more than thirty-two bytes, long enough for all three hashes"
	jweKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
)

// now is the clock of all tests here.
var now = time.Unix(1_800_000_000, 0)

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newVerifier(t testing.TB, o auth.Options) *auth.Verifier {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	v, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// hs256 signs any header and payload, however wrong.
func hs256(head, payload, key string) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(head)) + "." + enc.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + enc.EncodeToString(mac.Sum(nil))
}

const hs256Head = `{"alg":"HS256","typ":"JWT"}`

func claims(payload string) string { return hs256(hs256Head, payload, secret) }

// signJWS signs with the library.
func signJWS(t testing.TB, alg jose.SignatureAlgorithm, key any, kid, payload string) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := obj.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// sealJWE encrypts with the library.
func sealJWE(t testing.TB, alg jose.KeyAlgorithm, enc jose.ContentEncryption, key []byte, o *jose.EncrypterOptions, payload []byte) string {
	t.Helper()
	e, err := jose.NewEncrypter(enc, jose.Recipient{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := e.Encrypt(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := obj.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func key32(t testing.TB) []byte {
	t.Helper()
	key, err := auth.DecodeKey(jweKey)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testKeys are made once: RSA keys take their time.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(s crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return s
	}
	ec := func(c elliptic.Curve) crypto.Signer {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		return must(k, err)
	}
	rsaKey := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		return must(k, err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"rsa": rsaKey(2048), "rsa2": rsaKey(2048), "weak": rsaKey(1024),
		"p256": ec(elliptic.P256()), "p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()), "ed": must(ed, err),
	}
})

func jwk(name, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: testKeys()[name].Public(), KeyID: kid}
}

func jwks(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equal(a, b protocol.Identity) bool {
	return a.Authenticated == b.Authenticated && a.DboID == b.DboID && a.RowID == b.RowID &&
		string(a.Extras) == string(b.Extras) && a.Expires.Equal(b.Expires)
}

func value(t testing.TB, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 0 {
				return m.GetGauge().GetValue()
			}
			if m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	v := newVerifier(t, auth.Options{JWTSecret: secret, Registerer: reg})
	for token, outcome := range map[string]string{
		claims(`{}`): "ok", claims(`{"exp":1}`): "expired", "x": "invalid", claims(`{"dbo_id":[]}`): "claims",
	} {
		_, _ = v.Authenticate(t.Context(), token)
		if n := value(t, reg, "fanfare_auth_tokens_total", outcome); n != 1 {
			t.Errorf("%s counted %v times", outcome, n)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if _, err := auth.New(auth.Options{Registerer: reg}); err == nil {
		t.Error("registered twice")
	}
}
