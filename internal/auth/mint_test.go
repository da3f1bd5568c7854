package auth_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"fanfare/internal/auth"
	"fanfare/protocol"
)

func TestMint(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]auth.MintOptions{
		"default secret":  {Secret: secret},
		"default key":     {Key: jweKey},
		"HS256":           {Algorithm: "HS256", Secret: secret},
		"HS384":           {Algorithm: "HS384", Secret: secret},
		"HS512":           {Algorithm: "HS512", Secret: secret},
		"dir":             {Algorithm: "dir", Key: jweKey},
		"dir CBC":         {Algorithm: "dir", Encryption: "A128CBC-HS256", Key: jweKey},
		"A256KW":          {Algorithm: "A256KW", Key: jweKey},
		"A256KW A128GCM":  {Algorithm: "A256KW", Encryption: "A128GCM", Key: jweKey},
		"nested claims":   {Secret: secret, Claims: auth.Claims{DboID: "user.table", RowID: "user.id", Extras: "user.more"}},
		"address as name": {Secret: secret, Claims: auth.Claims{DboID: "https://a.b/dbo", RowID: "sub", Extras: "https://a.b/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.DboID, o.RowID, o.Extras = 17, protocol.RowIDFromString("9f0c"), json.RawMessage(`{ "name":"Jo & <b>" }`)
			o.Now, o.Lifetime, o.Issuer, o.Audience = now, time.Hour, "me", "you"
			token, err := auth.Mint(o)
			if err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, auth.Options{JWTSecret: o.Secret, JWEKey: o.Key, Claims: o.Claims, Issuer: "me", Audience: "you"})
			id, err := v.Authenticate(t.Context(), token)
			var extras map[string]string
			if e := json.Unmarshal(id.Extras, &extras); e != nil || extras["name"] != "Jo & <b>" {
				t.Errorf("extras %s %v", id.Extras, e)
			}
			if err != nil || id.DboID != 17 || id.RowID != `"9f0c"` || !id.Expires.Equal(now.Add(time.Hour)) {
				t.Errorf("got %+v %v", id, err)
			}
		})
	}
}

func TestMintRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]auth.MintOptions{
		"nothing to seal with": {},
		"no secret":            {Algorithm: "HS256", Key: jweKey},
		"no key":               {Algorithm: "dir", Secret: secret},
		"bad key":              {Algorithm: "dir", Key: "AAAA"},
		"none":                 {Algorithm: "none", Secret: secret},
		"HS1":                  {Algorithm: "HS1", Secret: secret},
		"RS256":                {Algorithm: "RS256", Secret: secret},
		"dir A128GCM":          {Algorithm: "dir", Encryption: "A128GCM", Key: jweKey},
		"negative":             {Secret: secret, DboID: -1},
		"extras a list":        {Secret: secret, Extras: json.RawMessage(`[]`)},
		"extras broken":        {Secret: secret, Extras: json.RawMessage(`{`)},
		"extras too large":     {Secret: secret, Extras: json.RawMessage(`{"x":"` + strings.Repeat("x", 5000) + `"}`)},
		"row too long":         {Secret: secret, RowID: protocol.RowIDFromString(strings.Repeat("x", 300))},
		"two in one place":     {Secret: secret, DboID: 1, RowID: "2", Claims: auth.Claims{DboID: "id", RowID: "id"}},
		"below a value":        {Secret: secret, DboID: 1, RowID: "2", Claims: auth.Claims{DboID: "id", RowID: "id.row"}},
	} {
		if token, err := auth.Mint(o); err == nil || token != "" {
			t.Errorf("%s: %q %v", name, token, err)
		}
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	in, err := auth.Inspect(" " + hs256(`{"alg":"none"}`, payload, "anything") + "\n")
	if err != nil || in.Kind != "signed" || string(in.Header["alg"]) != `"none"` || string(in.Claims["dbo_id"]) != "17" ||
		!in.Expires.Equal(time.Unix(1_800_000_060, 0)) || !in.NotBefore.Equal(now) || in.IssuedAt == nil {
		t.Errorf("got %+v %v", in, err)
	}
	if _, err := json.Marshal(in); err != nil {
		t.Error(err)
	}
	in, err = auth.Inspect(sealJWE(t, "dir", "A256GCM", key32(t), nil, []byte(payload)))
	if err != nil || in.Kind != "encrypted" || in.Claims != nil || string(in.Header["enc"]) != `"A256GCM"` {
		t.Errorf("got %+v %v", in, err)
	}
	for _, token := range []string{"", "x", "a.b.c", b64("{}") + "." + b64("[]") + ".", "....", strings.Repeat("x.", 20<<10)} {
		if in, err := auth.Inspect(token); err == nil || !errors.Is(err, auth.ErrInvalid) && !errors.Is(err, auth.ErrTooLarge) {
			t.Errorf("%.20q: %+v %v", token, in, err)
		}
	}
}
