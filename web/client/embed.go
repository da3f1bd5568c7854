// Package webclient holds the built browser client, dist/fanfare.js, so that the Go build needs no Node. It is
// built by `npm run build` in this folder; `npm run check` proves that it is current.
package webclient

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the client
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed dist/fanfare.js
var source []byte

// Source is the client as an ES module.
func Source() []byte { return bytes.Clone(source) }

// Handler serves the client. Pages of any origin may import it.
func Handler() http.Handler {
	sum := sha256.Sum256(source)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age=0, must-revalidate")
		h.Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(source))
	})
}
