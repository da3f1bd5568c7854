package auth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"fanfare/internal/auth"
	"fanfare/protocol"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	const bad = -1
	uuid := "9f0c1a3e-1111-4222-8333-444455556666"
	big := `{"x":"` + strings.Repeat("x", 4096-8) + `"}`
	sub := auth.Claims{DboID: "table", RowID: "sub", Extras: "app.meta"}
	nested := auth.Claims{DboID: "user.table.id", RowID: "user.id", Extras: "user"}
	address := auth.Claims{RowID: "https://example.com/id", DboID: "https://example.com/claims.dbo", Extras: "a.b"}
	cases := map[string]struct {
		names  auth.Claims
		claims string
		dbo    int64 // bad = refused
		row    protocol.RowID
		extras string
	}{
		"none":                  {auth.Claims{}, `{}`, 0, "", ""},
		"null":                  {auth.Claims{}, `{"dbo_id":null,"row_id":null,"extras":null}`, 0, "", ""},
		"integers":              {auth.Claims{}, `{"dbo_id":17,"row_id":42}`, 17, "42", ""},
		"texts":                 {auth.Claims{}, `{"dbo_id":"17","row_id":"42"}`, 17, "42", ""},
		"UUID":                  {auth.Claims{}, `{"row_id":"` + uuid + `"}`, 0, protocol.RowIDFromString(uuid), ""},
		"leading zeros":         {auth.Claims{}, `{"row_id":"007"}`, 0, `"007"`, ""},
		"zero":                  {auth.Claims{}, `{"dbo_id":0,"row_id":0}`, 0, "", ""},
		"empty text":            {auth.Claims{}, `{"row_id":""}`, 0, "", ""},
		"largest":               {auth.Claims{}, `{"dbo_id":9223372036854775807,"row_id":9223372036854775807}`, 9223372036854775807, "9223372036854775807", ""},
		"extras":                {auth.Claims{}, `{"extras":{ "name" : "Jo" }}`, 0, "", `{"name":"Jo"}`},
		"empty extras":          {auth.Claims{}, `{"extras":{ }}`, 0, "", ""},
		"4 KiB of extras":       {auth.Claims{}, `{"extras":  ` + big + `}`, 0, "", big},
		"row of 256 bytes":      {auth.Claims{}, `{"row_id":"` + strings.Repeat("ü", 128) + `"}`, 0, protocol.RowIDFromString(strings.Repeat("ü", 128)), ""},
		"row of 256, escaped":   {auth.Claims{}, `{"row_id":"` + strings.Repeat(`\u0061`, 256) + `"}`, 0, protocol.RowIDFromString(strings.Repeat("a", 256)), ""},
		"other names":           {sub, `{"table":1,"sub":"u1","app":{"meta":{"a":1}},"dbo_id":[],"row_id":{},"extras":1}`, 1, `"u1"`, `{"a":1}`},
		"nested":                {nested, `{"user":{"id":5,"table":{"id":"3"}}}`, 3, "5", `{"id":5,"table":{"id":"3"}}`},
		"path meets a value":    {nested, `{"user":7}`, bad, "", ""}, // extras are no object; the paths are absent
		"path meets a list":     {sub, `{"app":[{"meta":{}}]}`, 0, "", ""},
		"path ends early":       {sub, `{"app":{}}`, 0, "", ""},
		"address as name":       {address, `{"https://example.com/id":"x","https://example.com/claims":{"dbo":4}}`, 4, `"x"`, ""},
		"literal before path":   {address, `{"a.b":{"literal":1},"a":{"b":{"path":1}}}`, 0, "", `{"literal":1}`},
		"literal null is there": {address, `{"a.b":null,"a":{"b":{"path":1}}}`, 0, "", ""},

		"dbo negative":            {auth.Claims{}, `{"dbo_id":-1}`, bad, "", ""},
		"dbo fraction":            {auth.Claims{}, `{"dbo_id":1.0}`, bad, "", ""},
		"dbo exponent":            {auth.Claims{}, `{"dbo_id":1e2}`, bad, "", ""},
		"dbo too large":           {auth.Claims{}, `{"dbo_id":9223372036854775808}`, bad, "", ""},
		"dbo true":                {auth.Claims{}, `{"dbo_id":true}`, bad, "", ""},
		"dbo a list":              {auth.Claims{}, `{"dbo_id":[1]}`, bad, "", ""},
		"dbo a word":              {auth.Claims{}, `{"dbo_id":"users"}`, bad, "", ""},
		"dbo with zeros":          {auth.Claims{}, `{"dbo_id":"007"}`, bad, "", ""},
		"dbo with a space":        {auth.Claims{}, `{"dbo_id":" 7"}`, bad, "", ""},
		"dbo empty":               {auth.Claims{}, `{"dbo_id":""}`, bad, "", ""},
		"row true":                {auth.Claims{}, `{"row_id":true}`, bad, "", ""},
		"row a list":              {auth.Claims{}, `{"row_id":[1]}`, bad, "", ""},
		"row a fraction":          {auth.Claims{}, `{"row_id":1.5}`, bad, "", ""},
		"row too large":           {auth.Claims{}, `{"row_id":9223372036854775808}`, bad, "", ""},
		"row too long":            {auth.Claims{}, `{"row_id":"` + strings.Repeat("x", 257) + `"}`, bad, "", ""},
		"row much too long":       {auth.Claims{}, `{"row_id":"` + strings.Repeat("x", 5000) + `"}`, bad, "", ""},
		"row of a lone surrogate": {auth.Claims{}, `{"row_id":"\ud800"}`, bad, "", ""},
		"row of another":          {auth.Claims{}, `{"row_id":"\udfff"}`, bad, "", ""},
		"extras a text":           {auth.Claims{}, `{"extras":"{}"}`, bad, "", ""},
		"extras a list":           {auth.Claims{}, `{"extras":[]}`, bad, "", ""},
		"extras false":            {auth.Claims{}, `{"extras":false}`, bad, "", ""},
		"extras too large":        {auth.Claims{}, `{"extras":` + strings.Replace(big, "x", "xx", 1) + `}`, bad, "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := auth.MapClaims([]byte(c.claims), c.names)
			if c.dbo == bad {
				if !errors.Is(err, auth.ErrClaims) || id.Authenticated {
					t.Errorf("got %+v %v", id, err)
				}
				return
			}
			want := protocol.Identity{Authenticated: true, DboID: c.dbo, RowID: c.row, Extras: json.RawMessage(c.extras)}
			if err != nil || !equal(id, want) {
				t.Errorf("got %+v %v, want %+v", id, err, want)
			}
		})
	}
}

func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"dbo_id":17,"row_id":"42","extras":{"a":[1,{"b":null}]}}`, `{"row_id":"\ud800"}`, `{"a":{"b":{"c":1}},"a.b":{}}`,
		`{"a":1,"a":2}`, `[]`, `{"extras":"x"}`, `{"dbo_id":1e5}`, "{\"row_id\":\"\xff\"}", `{"user":{"id":"9f0c"}}`,
	} {
		f.Add([]byte(seed), "user.id", "extras")
	}
	f.Add([]byte(`{"https://a.b/c":1}`), "https://a.b/c", "a.b.c.d")
	f.Fuzz(func(t *testing.T, payload []byte, row, extras string) {
		id, err := auth.MapClaims(payload, auth.Claims{RowID: row, Extras: extras})
		if err != nil {
			if !equal(id, protocol.Identity{}) {
				t.Fatalf("%+v beside %v", id, err)
			}
			return
		}
		if !id.Authenticated || id.DboID < 0 || len(id.RowID.Text()) > 256 || len(id.Extras) > auth.MaxExtrasBytes {
			t.Fatalf("out of bounds: %+v", id)
		}
		if again, err := protocol.ParseRowID([]byte(id.RowID.JSON())); err != nil || again != id.RowID {
			t.Fatalf("row_id %q reads back as %q %v", id.RowID, again, err)
		}
		if len(id.Extras) > 0 {
			if members, err := auth.ParseObject(id.Extras); err != nil || len(members) == 0 {
				t.Fatalf("extras %q: %v", id.Extras, err)
			}
		}
	})
}

func FuzzAuthenticate(f *testing.F) {
	// Always the same ones: encryption is random, and what an earlier run has left in the corpus is genuine too.
	seeds := []string{
		claims(payload), claims(`{}`), "..", "....", b64(`{"alg":"none"}`) + "." + b64(payload) + ".",
		b64(`{"alg":"ES256","kid":"1"}`) + "." + b64(payload) + "." + b64(strings.Repeat("x", 64)),
		"eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0.kFUmqxWhIkBwPArq9xG4ZIJ2fDxz5YmxrYQjEC63qM7fF1f0_h5oVa9s2Ts2-M0D3ifH" +
			"T8qnZzaa16v-dq6lHM-1lPphaZvE.RkdvLHOymN7hyZDnGwX2rQ.dp1J0saglyUreGVMwcxXoQ.KvYCK_fR6giQ3l4lq113G99V6h6PJd2E-CNZwyVqdiU",
		"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..ul0OuTjnqQ4AAjMQ.kaSEjrUii2jtcX84.4pzyp1mc0SCXo_SllptTKA",
	}
	for _, s := range seeds {
		f.Add(s, "", "")
		head, rest, _ := strings.Cut(s, ".")
		f.Add(head, rest, "")
	}
	f.Add("", "", `{"alg":"HS256","zip":"DEF"}`)
	f.Add("", `{"exp":1e999}`, hs256Head)
	v := newVerifier(f, auth.Options{JWTSecret: secret, JWEKey: jweKey})
	genuine := map[string]bool{}
	for _, s := range seeds {
		genuine[s] = true
	}
	f.Fuzz(func(t *testing.T, token, body, head string) {
		id, err := v.Authenticate(t.Context(), token)
		if (err == nil) != id.Authenticated {
			t.Fatalf("%+v %v", id, err)
		}
		if err == nil && !genuine[token] && !sameText(token, seeds) {
			t.Fatalf("forged: %q", token)
		}
		if _, err := auth.Inspect(token); err != nil && len(err.Error()) > 300 {
			t.Fatalf("long error: %v", err)
		}
		// What is behind a good signature, and behind a good header.
		for _, made := range []string{claims(body), hs256(head, body, secret), hs256(head, payload, secret)} {
			id, err := v.Authenticate(t.Context(), made)
			if (err == nil) != id.Authenticated || err != nil && !equal(id, protocol.Identity{}) {
				t.Fatalf("%q: %+v %v", made, id, err)
			}
		}
	})
}

// sameText: the last character of a base64 part has spare bits, which some decoders ignore. A token that differs
// only there says the same.
func sameText(token string, seeds []string) bool {
	for _, s := range seeds {
		if same := slices.EqualFunc(strings.Split(token, "."), strings.Split(s, "."), func(a, b string) bool {
			x, errX := base64.RawURLEncoding.DecodeString(a)
			y, errY := base64.RawURLEncoding.DecodeString(b)
			return errX == nil && errY == nil && bytes.Equal(x, y)
		}); same {
			return true
		}
	}
	return false
}
