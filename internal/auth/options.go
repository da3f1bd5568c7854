package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// MaxTokenBytes bounds a token; it travels in a header, twice what the clients may need.
	MaxTokenBytes = 16 << 10
	// MaxExtrasBytes bounds the extras of an identity, which every presence entry repeats.
	MaxExtrasBytes = 4 << 10

	maxHeaderBytes = 4 << 10
	maxClaimsBytes = 64 << 10 // after inflating
	maxDepth       = 32
	maxRowIDBytes  = 256
	maxWaiters     = 1024
	weakSecret     = 16
	jweKeyBytes    = 32

	defaultLeeway       = 10 * time.Second
	defaultFetchTimeout = 5 * time.Second
	defaultCooldown     = 5 * time.Second
)

// Claims says which claims carry the identity. Empty names mean the defaults.
type Claims struct {
	DboID  string // "dbo_id"
	RowID  string // "row_id"
	Extras string // "extras"
}

func (c Claims) withDefaults() Claims {
	if c.DboID == "" {
		c.DboID = "dbo_id"
	}
	if c.RowID == "" {
		c.RowID = "row_id"
	}
	if c.Extras == "" {
		c.Extras = "extras"
	}
	return c
}

// Options configures a Verifier. The zero value accepts no token at all.
type Options struct {
	// JWTSecret is the secret for HS256, HS384 and HS512, as it stands.
	JWTSecret string
	// JWKSURL is where the public keys for RS*, PS*, ES* and EdDSA are published.
	JWKSURL string
	// JWEKey is 32 bytes in base64url or base64, with or without padding.
	JWEKey string
	// Claims names the claims that carry the identity.
	Claims Claims
	// Issuer and Audience, when set, must be the token's iss and among its aud. A key server that serves
	// several applications makes Audience necessary.
	Issuer, Audience string
	// Leeway is how far nbf may lie ahead; 0 = 10 s, negative = none.
	Leeway time.Duration

	// HTTPClient fetches the keys; nil = one of our own that refuses to be redirected from https to http.
	HTTPClient *http.Client
	// FetchTimeout bounds one request to the key server and the wait for it; 0 = 5 s.
	FetchTimeout time.Duration
	// Cooldown is the least time between two requests that unknown keys cause; 0 = 5 s.
	Cooldown time.Duration
	// CacheFile keeps the fetched keys for the next start; empty = not kept.
	CacheFile string

	// Now is the clock for exp and nbf; nil = time.Now.
	Now func() time.Time
	// Registerer takes the metrics; nil = they are not exported.
	Registerer prometheus.Registerer
	// Logger takes the logs; nil = discarded.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Claims = o.Claims.withDefaults()
	switch {
	case o.Leeway == 0:
		o.Leeway = defaultLeeway
	case o.Leeway < 0:
		o.Leeway = 0
	}
	if o.FetchTimeout <= 0 {
		o.FetchTimeout = defaultFetchTimeout
	}
	if o.Cooldown <= 0 {
		o.Cooldown = defaultCooldown
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{CheckRedirect: noDowngrade}
	}
	return o
}

// noDowngrade keeps the keys from being fetched in the clear when https was asked for.
func noDowngrade(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirect from https to " + req.URL.Scheme)
	}
	return nil
}

// Validate tells what is wrong, naming the configuration key.
func (o Options) Validate() error {
	if strings.Contains(o.JWTSecret, "-----BEGIN ") {
		return errors.New("auth.jwt_secret: holds a PEM key; it is for HS256, HS384 and HS512 only, publish public keys through auth.jwks_url")
	}
	if o.JWKSURL != "" {
		u, err := url.Parse(o.JWKSURL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			return errors.New("auth.jwks_url: must be an http or https address")
		}
	}
	if o.JWEKey != "" {
		if _, err := DecodeKey(o.JWEKey); err != nil {
			return fmt.Errorf("auth.jwe_key: %w", err)
		}
	}
	for _, c := range []struct{ key, name string }{
		{"dbo_id", o.Claims.DboID}, {"row_id", o.Claims.RowID}, {"extras", o.Claims.Extras},
	} {
		if len(c.name) > 256 {
			return fmt.Errorf("auth.claims.%s: longer than 256 bytes", c.key)
		}
	}
	return nil
}

// DecodeKey reads the 32 bytes of an encryption key from base64url or base64, with or without padding.
func DecodeKey(text string) ([]byte, error) {
	s := strings.TrimRight(strings.TrimSpace(text), "=")
	s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	key, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(key) != jweKeyBytes {
		return nil, fmt.Errorf("must be %d bytes in base64url or base64", jweKeyBytes)
	}
	return key, nil
}
