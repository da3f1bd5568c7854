package auth_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"fanfare/internal/auth"
	"fanfare/protocol"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func publicPEM(t testing.TB, name string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(testKeys()[name].Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	v := everything(t)
	good := claims(payload)
	head, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	key := key32(t)
	other := bytes.Repeat([]byte{9}, 32)
	rsaJWK, err := json.Marshal(jwk("rsa2", "evil"))
	if err != nil {
		t.Fatal(err)
	}
	publicJWK, err := json.Marshal(jwk("rsa", "rsa"))
	if err != nil {
		t.Fatal(err)
	}
	xano := &jose.EncrypterOptions{Compression: jose.DEFLATE}
	jwt := (&jose.EncrypterOptions{}).WithContentType("JWT")
	nested := sealJWE(t, jose.A256KW, jose.A256GCM, key, nil, []byte(payload))

	embedded := signWithHeader(t, "rsa2", map[jose.HeaderKey]any{"jwk": jwk("rsa2", "evil")})
	cases := map[string]struct {
		token string
		want  error
	}{
		"empty":                {"", auth.ErrInvalid},
		"a word":               {"hello", auth.ErrInvalid},
		"dots only":            {"..", auth.ErrInvalid},
		"five dots":            {".....", auth.ErrInvalid},
		"two parts":            {head + "." + body, auth.ErrInvalid},
		"four parts":           {good + ".x", auth.ErrInvalid},
		"white space":          {good + "\n", auth.ErrInvalid},
		"padding":              {good + "=", auth.ErrInvalid},
		"json serialization":   {`{"payload":"e30","protected":"e30","signature":""}`, auth.ErrInvalid},
		"nul":                  {good[:5] + "\x00" + good[6:], auth.ErrInvalid},
		"not utf-8":            {"\xff\xfe." + rest, auth.ErrInvalid},
		"too large":            {claims(`{"x":"` + strings.Repeat("x", 16<<10) + `"}`), auth.ErrTooLarge},
		"much too large":       {strings.Repeat("a", 1<<20), auth.ErrTooLarge},
		"header not base64url": {"a+b." + rest, auth.ErrInvalid},
		"header not json":      {b64("hello") + "." + rest, auth.ErrInvalid},
		"header a list":        {b64("[]") + "." + rest, auth.ErrInvalid},
		"header null":          {b64("null") + "." + rest, auth.ErrInvalid},
		"header too large":     {hs256(`{"alg":"HS256","x":"`+strings.Repeat("x", 5000)+`"}`, payload, secret), auth.ErrInvalid},
		"no alg":               {hs256(`{}`, payload, secret), auth.ErrInvalid},
		"alg a number":         {hs256(`{"alg":256}`, payload, secret), auth.ErrInvalid},
		"kid a number":         {hs256(`{"alg":"HS256","kid":1}`, payload, secret), auth.ErrInvalid},
		"alg twice":            {hs256(`{"alg":"HS256","alg":"none"}`, payload, secret), auth.ErrInvalid},
		"alg none":             {b64(`{"alg":"none"}`) + "." + body + ".", auth.ErrInvalid},
		"alg None":             {b64(`{"alg":"None"}`) + "." + body + ".", auth.ErrInvalid},
		"alg none, signed":     {hs256(`{"alg":"none"}`, payload, secret), auth.ErrInvalid},
		"alg hs256":            {hs256(`{"alg":"hs256"}`, payload, secret), auth.ErrInvalid},
		"alg HS1":              {hs256(`{"alg":"HS1"}`, payload, secret), auth.ErrInvalid},
		"alg ML-DSA-44":        {hs256(`{"alg":"ML-DSA-44"}`, payload, secret), auth.ErrInvalid},
		"crit":                 {hs256(`{"alg":"HS256","crit":["exp"],"exp":1}`, payload, secret), auth.ErrInvalid},
		"crit empty":           {hs256(`{"alg":"HS256","crit":[]}`, payload, secret), auth.ErrInvalid},
		"b64":                  {hs256(`{"alg":"HS256","b64":false}`, payload, secret), auth.ErrInvalid},
		"zip in a JWS":         {hs256(`{"alg":"HS256","zip":"DEF"}`, payload, secret), auth.ErrInvalid},
		"enc in a JWS":         {hs256(`{"alg":"HS256","enc":"A256GCM"}`, payload, secret), auth.ErrInvalid},

		"no signature":         {head + "." + body + ".", auth.ErrInvalid},
		"another signature":    {head + "." + body + "." + b64(strings.Repeat("x", 32)), auth.ErrInvalid},
		"half a signature":     {head + "." + body + "." + signature[:22], auth.ErrInvalid},
		"another secret":       {hs256(hs256Head, payload, secret+"!"), auth.ErrInvalid},
		"empty secret":         {hs256(hs256Head, payload, ""), auth.ErrInvalid},
		"changed claims":       {head + "." + b64(strings.Replace(payload, "3", "4", 1)) + "." + signature, auth.ErrInvalid},
		"HS256 said HS512":     {b64(`{"alg":"HS512"}`) + "." + body + "." + signature, auth.ErrInvalid},
		"claims not json":      {claims(`hello`), auth.ErrInvalid},
		"claims a list":        {claims(`[]`), auth.ErrInvalid},
		"claims null":          {claims(`null`), auth.ErrInvalid},
		"claims empty":         {claims(``), auth.ErrInvalid},
		"claims twice":         {claims(`{"row_id":1,"row_id":2}`), auth.ErrInvalid},
		"claims twice, inside": {claims(`{"extras":{"a":[{"b":1,"b":2}]}}`), auth.ErrInvalid},
		"claims trailing":      {claims(`{} {}`), auth.ErrInvalid},
		"claims not utf-8":     {claims("{\"row_id\":\"\xff\"}"), auth.ErrInvalid},
		"claims too deep":      {claims(`{"extras":` + strings.Repeat(`{"a":`, auth.MaxDepth) + `1` + strings.Repeat(`}`, auth.MaxDepth) + `}`), auth.ErrInvalid},
		"claims 3000 deep":     {claims(strings.Repeat(`[`, 3000)), auth.ErrInvalid},

		"embedded jwk":            {embedded, auth.ErrInvalid},
		"embedded jku":            {signWithHeader(t, "rsa2", map[jose.HeaderKey]any{"jku": "http://127.0.0.1/jwks"}), auth.ErrInvalid},
		"embedded x5u":            {signWithHeader(t, "rsa2", map[jose.HeaderKey]any{"x5u": "http://127.0.0.1/cert"}), auth.ErrInvalid},
		"embedded x5c":            {signWithHeader(t, "rsa2", map[jose.HeaderKey]any{"x5c": []string{}}), auth.ErrInvalid},
		"jwk beside HS256":        {hs256(`{"alg":"HS256","jwk":`+string(rsaJWK)+`}`, payload, secret), auth.ErrInvalid},
		"known kid, another key":  {signJWS(t, jose.RS256, testKeys()["rsa2"], "rsa", payload), auth.ErrInvalid},
		"unknown kid":             {signJWS(t, jose.RS256, testKeys()["rsa2"], "new", payload), auth.ErrUnknownKey},
		"no kid, another key":     {signJWS(t, jose.RS256, testKeys()["rsa2"], "", payload), auth.ErrInvalid},
		"kid of another type":     {signJWS(t, jose.RS256, testKeys()["rsa"], "p256", payload), auth.ErrUnknownKey},
		"kid of another curve":    {signJWS(t, jose.ES256, testKeys()["p256"], "p384", payload), auth.ErrUnknownKey},
		"weak RSA key":            {signWeak(t), auth.ErrInvalid},
		"confusion, PEM":          {hs256(`{"alg":"HS256","kid":"rsa"}`, payload, publicPEM(t, "rsa")), auth.ErrInvalid},
		"confusion, PEM trimmed":  {hs256(`{"alg":"HS256","kid":"rsa"}`, payload, strings.TrimSpace(publicPEM(t, "rsa"))), auth.ErrInvalid},
		"confusion, JWK":          {hs256(`{"alg":"HS256","kid":"rsa"}`, payload, string(publicJWK)), auth.ErrInvalid},
		"RS256 with the secret":   {hs256(`{"alg":"RS256","kid":"rsa"}`, payload, secret), auth.ErrInvalid},
		"expired, wrong key":      {hs256(hs256Head, `{"exp":1}`, "no"), auth.ErrInvalid},
		"ES256 without signature": {b64(`{"alg":"ES256","kid":"p256"}`) + "." + body + ".", auth.ErrInvalid},
		"ES256 zero signature":    {b64(`{"alg":"ES256","kid":"p256"}`) + "." + body + "." + b64(strings.Repeat("\x00", 64)), auth.ErrInvalid},

		"another JWE key":      {sealJWE(t, jose.A256KW, jose.A256GCM, other, nil, []byte(payload)), auth.ErrInvalid},
		"another dir key":      {sealJWE(t, jose.DIRECT, jose.A256GCM, other, nil, []byte(payload)), auth.ErrInvalid},
		"A128KW":               {sealJWE(t, jose.A128KW, jose.A128GCM, key[:16], nil, []byte(payload)), auth.ErrInvalid},
		"A256GCMKW":            {sealJWE(t, jose.A256GCMKW, jose.A256GCM, key, nil, []byte(payload)), auth.ErrInvalid},
		"PBES2":                {sealJWE(t, jose.PBES2_HS256_A128KW, jose.A128GCM, key, nil, []byte(payload)), auth.ErrInvalid},
		"A192GCM":              {sealJWE(t, jose.A256KW, jose.A192GCM, key, nil, []byte(payload)), auth.ErrInvalid},
		"dir A128GCM":          {sealJWE(t, jose.DIRECT, jose.A128GCM, key[:16], nil, []byte(payload)), auth.ErrInvalid},
		"JWE alg HS256":        {b64(`{"alg":"HS256","enc":"A256GCM"}`) + "....", auth.ErrInvalid},
		"JWE without enc":      {b64(`{"alg":"dir"}`) + "....", auth.ErrInvalid},
		"JWE crit":             {b64(`{"alg":"dir","enc":"A256GCM","crit":["x"]}`) + "....", auth.ErrInvalid},
		"JWE unknown zip":      {b64(`{"alg":"dir","enc":"A256GCM","zip":"GZIP"}`) + "....", auth.ErrInvalid},
		"JWE empty":            {b64(`{"alg":"dir","enc":"A256GCM"}`) + "....", auth.ErrInvalid},
		"JWE changed":          {flip(nested, 3), auth.ErrInvalid},
		"JWE tag cut":          {nested[:len(nested)-6], auth.ErrInvalid},
		"JWE expired":          {sealJWE(t, jose.A256KW, jose.A256GCM, key, nil, []byte(`{"exp":1}`)), auth.ErrExpired},
		"JWE not JSON":         {sealJWE(t, jose.A256KW, jose.A256GCM, key, nil, []byte(`hello`)), auth.ErrInvalid},
		"JWE signed, no cty":   {sealJWE(t, jose.A256KW, jose.A256GCM, key, nil, []byte(good)), auth.ErrInvalid},
		"JWE claims, cty JWT":  {sealJWE(t, jose.A256KW, jose.A256GCM, key, jwt, []byte(payload)), auth.ErrInvalid},
		"JWE in JWE":           {sealJWE(t, jose.A256KW, jose.A256GCM, key, jwt, []byte(nested)), auth.ErrInvalid},
		"JWE with alg none":    {sealJWE(t, jose.A256KW, jose.A256GCM, key, jwt, []byte(b64(`{"alg":"none"}`)+"."+body+".")), auth.ErrInvalid},
		"JWE with bad JWT":     {sealJWE(t, jose.A256KW, jose.A256GCM, key, jwt, []byte(hs256(hs256Head, payload, "no"))), auth.ErrInvalid},
		"JWE with expired JWT": {sealJWE(t, jose.A256KW, jose.A256GCM, key, jwt, []byte(claims(`{"exp":1}`))), auth.ErrExpired},
		"bomb of 10 MB":        {sealJWE(t, jose.A256KW, jose.A256CBC_HS512, key, xano, bytes.Repeat([]byte(" "), 8<<20)), auth.ErrInvalid},
		"bomb of 100 kB": {sealJWE(t, jose.A256KW, jose.A256CBC_HS512, key, xano,
			[]byte(`{"x":"`+strings.Repeat("x", 100<<10)+`"}`)), auth.ErrTooLarge},
		"bomb with a JWT": {sealJWE(t, jose.A256KW, jose.A256CBC_HS512, key, (&jose.EncrypterOptions{Compression: jose.DEFLATE}).WithContentType("JWT"),
			bytes.Repeat([]byte("a"), 200<<10)), auth.ErrTooLarge},
		"zip said, not done": {zipLie(t, key), auth.ErrInvalid},

		"dbo_id text":       {claims(`{"dbo_id":"x"}`), auth.ErrClaims},
		"extras a list":     {claims(`{"extras":[]}`), auth.ErrClaims},
		"extras too large":  {claims(`{"extras":{"x":"` + strings.Repeat("x", 4096-7) + `"}}`), auth.ErrClaims},
		"row_id an object":  {claims(`{"row_id":{}}`), auth.ErrClaims},
		"row_id a fraction": {claims(`{"row_id":1.5}`), auth.ErrClaims},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := v.Authenticate(t.Context(), c.token)
			if !errors.Is(err, c.want) || id.Authenticated || !equal(id, protocol.Identity{}) {
				t.Errorf("got %+v %v, want %v", id, err, c.want)
			}
			if err != nil && len(err.Error()) > 200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// signWithHeader is a token signed by a stranger's key that the header points to.
func signWithHeader(t testing.TB, name string, extra map[jose.HeaderKey]any) string {
	t.Helper()
	head := map[string]any{"alg": "RS256"}
	for k, value := range extra {
		head[string(k)] = value
	}
	raw, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	text := b64(string(raw)) + "." + b64(payload)
	h := crypto.SHA256.New()
	h.Write([]byte(text))
	signature, err := testKeys()[name].Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func signWeak(t testing.TB) string {
	t.Helper()
	return signWithHeader(t, "weak", nil)
}

// flip changes a bit in the middle of the n-th part.
func flip(token string, n int) string {
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		return ""
	}
	raw[len(raw)/2] ^= 1
	parts[n] = base64.RawURLEncoding.EncodeToString(raw)
	return strings.Join(parts, ".")
}

// zipLie announces compression that was not done.
func zipLie(t testing.TB, key []byte) string {
	t.Helper()
	e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: key},
		(&jose.EncrypterOptions{}).WithHeader("zip", "DEF"))
	if err != nil {
		t.Fatal(err)
	}
	obj, err := e.Encrypt([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := obj.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestNoKeys(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, auth.Options{})
	for _, token := range []string{"", "x", claims(payload), strings.Repeat("x", 1<<20)} {
		if id, err := v.Authenticate(t.Context(), token); !errors.Is(err, auth.ErrNoKeys) || id.Authenticated {
			t.Errorf("got %+v %v", id, err)
		}
	}
}

func TestKindWithoutItsKey(t *testing.T) {
	t.Parallel()
	hs := claims(payload)
	rs := signJWS(t, jose.RS256, testKeys()["rsa"], "rsa", payload)
	je := sealJWE(t, jose.A256KW, jose.A256GCM, key32(t), nil, []byte(payload))
	jeSigned := sealJWE(t, jose.A256KW, jose.A256GCM, key32(t), (&jose.EncrypterOptions{}).WithContentType("JWT"), []byte(hs))
	for name, c := range map[string]struct {
		o     auth.Options
		token string
	}{
		"HS, JWE only":           {auth.Options{JWEKey: jweKey}, hs},
		"RS, JWE only":           {auth.Options{JWEKey: jweKey}, rs},
		"RS, secret only":        {auth.Options{JWTSecret: secret}, rs},
		"JWE, secret only":       {auth.Options{JWTSecret: secret}, je},
		"JWE of HS, JWE only":    {auth.Options{JWEKey: jweKey}, jeSigned},
		"HS, key server only":    {auth.Options{JWKSURL: "http://127.0.0.1:1/"}, hs},
		"JWE, key server only":   {auth.Options{JWKSURL: "http://127.0.0.1:1/"}, je},
		"HS with the JWE key":    {auth.Options{JWEKey: jweKey, JWTSecret: secret}, hs256(hs256Head, payload, string(key32(t)))},
		"HS with its base64":     {auth.Options{JWEKey: jweKey, JWTSecret: secret}, hs256(hs256Head, payload, jweKey)},
		"HS, empty, JWE present": {auth.Options{JWEKey: jweKey}, hs256(hs256Head, payload, "")},
	} {
		if id, err := newVerifier(t, c.o).Authenticate(t.Context(), c.token); !errors.Is(err, auth.ErrInvalid) || id.Authenticated {
			t.Errorf("%s: got %+v %v", name, id, err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]auth.Options{
		"auth.jwt_secret":    {JWTSecret: publicPEM(t, "rsa")},
		"auth.jwks_url":      {JWKSURL: "ftp://example.com/keys"},
		"auth.jwe_key":       {JWEKey: "AAEC"},
		"auth.claims.row_id": {Claims: auth.Claims{RowID: strings.Repeat("x", 257)}},
	} {
		if _, err := auth.New(o); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "AAEC") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	std := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xff}, 16))
	url := base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xff}, 16))
	for _, text := range []string{std, strings.TrimRight(std, "="), url, strings.TrimRight(url, "="), std + "\n"} {
		if key, err := auth.DecodeKey(text); err != nil || len(key) != 32 || key[0] != 0xfb {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "=", std[:40], std + "AAAA", "!" + std[1:], strings.Repeat("x", 32)} {
		if _, err := auth.DecodeKey(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestWarningAndSilence(t *testing.T) {
	t.Parallel()
	out := &logs{}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := newVerifier(t, auth.Options{JWTSecret: "hunter2", JWEKey: jweKey, Logger: log})
	if n := strings.Count(out.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, out)
	}
	for _, token := range []string{hs256(hs256Head, `{"row_id":"hunter2"}`, "hunter2"), hs256(hs256Head, `{"row_id":{"hunter2":1}}`, "hunter2"), "hunter2", claims(payload)} {
		if _, err := v.Authenticate(t.Context(), token); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error shows too much: %v", err)
		}
	}
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), jweKey) {
		t.Errorf("log shows too much:\n%s", out)
	}
	out2 := &logs{}
	newVerifier(t, auth.Options{JWTSecret: "sixteen bytes !!", Logger: slog.New(slog.NewTextHandler(out2, nil))})
	if out2.String() != "" {
		t.Errorf("warned of 16 bytes: %s", out2)
	}
}
