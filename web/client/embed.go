// Package webclient holds the built browser client, dist/fanfare.js, so that the Go build needs no Node. It is
// built by `npm run build` in this folder; `npm run check` proves that it is current.
package webclient

import (
	"bytes"
	_ "embed" // for the client
	"net/http"

	"fanfare/internal/pages"
)

//go:embed dist/fanfare.js
var source []byte

// Source is the client as an ES module.
func Source() []byte { return bytes.Clone(source) }

// Handler serves the client. Pages of any origin may import it.
func Handler() http.Handler { return pages.Public("text/javascript; charset=utf-8", source) }
