package auth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fanfare/internal/auth"
	"fanfare/protocol"
)

const payload = `{"dbo_id":17,"row_id":3,"extras":{"name":"Jo"},"exp":1800000060,"nbf":1800000000,"iat":1799999999}`

var jo = protocol.Identity{
	Authenticated: true, DboID: 17, RowID: "3", Extras: json.RawMessage(`{"name":"Jo"}`), Expires: time.Unix(1_800_000_060, 0),
}

// everything is a verifier with all kinds of keys, its key server up.
func everything(t testing.TB) *auth.Verifier {
	t.Helper()
	set := jwks(t, jwk("rsa", "rsa"), jwk("p256", "p256"), jwk("p384", "p384"), jwk("p521", "p521"), jwk("ed", "ed"))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(s.Close)
	v := newVerifier(t, auth.Options{JWTSecret: secret, JWKSURL: s.URL, JWEKey: jweKey, HTTPClient: s.Client()})
	running(t, v)
	return v
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	v := everything(t)
	tokens := map[string]string{
		"HS256":       signJWS(t, jose.HS256, []byte(secret), "", payload),
		"HS384":       signJWS(t, jose.HS384, []byte(secret), "", payload),
		"HS512":       signJWS(t, jose.HS512, []byte(secret), "", payload),
		"HS256, kid":  signJWS(t, jose.HS256, []byte(secret), "whatever", payload),
		"RS256":       signJWS(t, jose.RS256, testKeys()["rsa"], "rsa", payload),
		"RS384":       signJWS(t, jose.RS384, testKeys()["rsa"], "rsa", payload),
		"RS512":       signJWS(t, jose.RS512, testKeys()["rsa"], "rsa", payload),
		"PS256":       signJWS(t, jose.PS256, testKeys()["rsa"], "rsa", payload),
		"PS384":       signJWS(t, jose.PS384, testKeys()["rsa"], "rsa", payload),
		"PS512":       signJWS(t, jose.PS512, testKeys()["rsa"], "rsa", payload),
		"ES256":       signJWS(t, jose.ES256, testKeys()["p256"], "p256", payload),
		"ES384":       signJWS(t, jose.ES384, testKeys()["p384"], "p384", payload),
		"ES512":       signJWS(t, jose.ES512, testKeys()["p521"], "p521", payload),
		"EdDSA":       signJWS(t, jose.EdDSA, testKeys()["ed"], "ed", payload),
		"RS256 no id": signJWS(t, jose.RS256, testKeys()["rsa"], "", payload),
		"odd header":  hs256(`{"typ":"at+jwt","alg":"HS256","x5t":"abc","new":{"a":[1]}}`, payload, secret),
	}
	key := key32(t)
	for _, enc := range []jose.ContentEncryption{jose.A256GCM, jose.A128CBC_HS256} {
		tokens["dir "+string(enc)] = sealJWE(t, jose.DIRECT, enc, key, nil, []byte(payload))
	}
	for _, enc := range []jose.ContentEncryption{jose.A128GCM, jose.A256GCM, jose.A128CBC_HS256, jose.A256CBC_HS512} {
		tokens["A256KW "+string(enc)] = sealJWE(t, jose.A256KW, enc, key, nil, []byte(payload))
	}
	// The header of Xano's own tokens.
	tokens["A256KW as Xano"] = sealJWE(t, jose.A256KW, jose.A256CBC_HS512, key, &jose.EncrypterOptions{Compression: jose.DEFLATE}, []byte(payload))
	for _, inner := range []string{"HS512", "RS256", "ES256"} {
		for _, cty := range []jose.ContentType{"JWT", "jwt"} {
			tokens["A256KW with "+inner+" "+string(cty)] = sealJWE(t, jose.A256KW, jose.A256GCM, key,
				(&jose.EncrypterOptions{}).WithContentType(cty), []byte(tokens[inner]))
		}
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := v.Authenticate(t.Context(), token)
			if err != nil || !equal(id, jo) {
				t.Errorf("got %+v %v", id, err)
			}
		})
	}
	if head, _, _ := strings.Cut(tokens["A256KW as Xano"], "."); head != "eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwiemlwIjoiREVGIn0" {
		t.Errorf("header differs from Xano's: %s", head)
	}
}

func TestShortSecretsWork(t *testing.T) {
	t.Parallel()
	// The library would refuse HS512 with less than 64 bytes; many secrets are shorter.
	v := newVerifier(t, auth.Options{JWTSecret: "short"})
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		token, err := auth.Mint(auth.MintOptions{Algorithm: alg, Secret: "short", DboID: 1, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if id, err := v.Authenticate(t.Context(), token); err != nil || id.DboID != 1 {
			t.Errorf("%s: %+v %v", alg, id, err)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, auth.Options{JWTSecret: secret})
	strict := newVerifier(t, auth.Options{JWTSecret: secret, Leeway: -1})
	for payload, want := range map[string]error{
		`{}`:                       nil,
		`{"exp":null,"nbf":null}`:  nil,
		`{"exp":1800000001}`:       nil,
		`{"exp":1800000000.5}`:     nil,
		`{"exp":1.800000001e9}`:    nil,
		`{"exp":253402300799}`:     nil,
		`{"exp":1800000000}`:       auth.ErrExpired,
		`{"exp":1799999999.9}`:     auth.ErrExpired,
		`{"exp":0}`:                auth.ErrExpired,
		`{"exp":-5}`:               auth.ErrExpired,
		`{"exp":1e12}`:             auth.ErrClaims,
		`{"exp":1e400}`:            auth.ErrClaims,
		`{"exp":-1e300}`:           auth.ErrClaims,
		`{"exp":"1900000000"}`:     auth.ErrClaims,
		`{"exp":true}`:             auth.ErrClaims,
		`{"exp":{}}`:               auth.ErrClaims,
		`{"nbf":1800000010}`:       nil,
		`{"nbf":1800000011}`:       auth.ErrNotYetValid,
		`{"nbf":"soon"}`:           auth.ErrClaims,
		`{"exp":1,"nbf":1e11}`:     auth.ErrExpired,
		`{"iat":"x","jti":[{}]}`:   nil,
		`{"EXP":1,"Exp":"x"}`:      nil, // names are exact
		`{"exp":1,"\u0065xp":1e9}`: auth.ErrInvalid,
	} {
		if id, err := v.Authenticate(t.Context(), claims(payload)); !errors.Is(err, want) || id.Authenticated != (want == nil) {
			t.Errorf("%s: got %+v %v, want %v", payload, id, err, want)
		}
	}
	if _, err := strict.Authenticate(t.Context(), claims(`{"nbf":1800000001}`)); !errors.Is(err, auth.ErrNotYetValid) {
		t.Errorf("no leeway: %v", err)
	}
	id, err := v.Authenticate(t.Context(), claims(`{"exp":1800000000.25}`))
	if err != nil || !id.Expires.Equal(now.Add(250*time.Millisecond)) {
		t.Errorf("got %v %v", id.Expires, err)
	}
}

func TestIssuerAndAudience(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, auth.Options{JWTSecret: secret, Issuer: "https://id.example/", Audience: "chat"})
	for payload, ok := range map[string]bool{
		`{"iss":"https://id.example/","aud":"chat"}`:              true,
		`{"iss":"https://id.example/","aud":["x",1,null,"chat"]}`: true,
		`{"iss":"https://id.example/","aud":["chats"]}`:           false,
		`{"iss":"https://id.example/","aud":"chat "}`:             false,
		`{"iss":"https://id.example/","aud":{"chat":1}}`:          false,
		`{"iss":"https://id.example/"}`:                           false,
		`{"iss":"https://id.example","aud":"chat"}`:               false,
		`{"iss":["https://id.example/"],"aud":"chat"}`:            false,
		`{"aud":"chat"}`: false,
	} {
		if _, err := v.Authenticate(t.Context(), claims(payload)); (err == nil) != ok || err != nil && !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}
