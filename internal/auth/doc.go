// Package auth turns the token a client offers into a protocol.Identity.
//
// # What is accepted
//
// A token is a compact JWS (three parts) or a compact JWE (five parts), at most MaxTokenBytes long.
//
//   - HS256, HS384, HS512: only with Options.JWTSecret.
//   - RS*, PS*, ES*, EdDSA: only with a key of Options.JWKSURL whose type, use, alg and curve fit. Which kind
//     of key is used follows from the algorithm alone, so a public key can never serve as an HMAC secret.
//   - JWE "dir" (A256GCM, A128CBC-HS256) and "A256KW" (A128GCM, A256GCM, A128CBC-HS256, A256CBC-HS512): only
//     with Options.JWEKey. The plaintext is a claims object, or with cty "JWT" a signed token, which then has
//     to verify as above. One level of nesting, no more.
//
// Everything else is refused: alg "none", a key inside the header (jwk, jku, x5u, x5c), crit, b64, duplicate
// members at any depth, text that is not UTF-8, objects nested deeper than maxDepth.
//
// zip "DEF" in a JWE is accepted, because Xano's own tokens carry it, and inflated only after the tag has been
// checked and up to a bound: who cannot encrypt cannot make us inflate, and a bomb from someone who can is
// refused. zip in a signed token means nothing and is refused.
//
// # Claims
//
// dbo_id is an integer or a string holding one; row_id is what protocol.ParseRowID reads; extras is an object
// of at most MaxExtrasBytes. Absent and null mean 0, nobody, {}. A token with none of them is authenticated
// all the same. The names are configurable; a name is looked up literally first and then, at each dot, as a
// path into nested objects, so that both "user.id" and "https://example.com/id" work.
//
// exp has no leeway, since Identity.Expires ends live sockets by it; nbf has Options.Leeway.
//
// # Errors
//
// Every error wraps exactly one of the sentinels in errors.go. None carries a token, a claim's value or a key.
//
// # Goroutines
//
// New reads the cached keys and starts nothing. Run is the only place that talks to the key server, so there
// is never more than one request under way; Authenticate asks it and waits, but only for a key it does not
// know, and only until Options.FetchTimeout. Authenticate and Run are safe for concurrent use.
package auth
