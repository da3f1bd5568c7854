// Package webdemo holds the built support-chat demo, dist/, so that the Go build needs no Node. It is built by
// `npm run build` in this folder; `npm run check` proves that it is current. The page loads the browser client
// from ../client.js and dials ../rt/demo, both beside the place it is mounted at.
package webdemo

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"fanfare/internal/pages"
)

//go:embed dist
var dist embed.FS

// Policy is the page's Content-Security-Policy. Scripts come from the server itself; when the reader asks for
// Xano's SDK, it comes from the mirror with a hash, or as a blob from the reader's own file.
const Policy = "default-src 'none'; script-src 'self' blob: " +
	"https://cdn.jsdelivr.net/npm/@xano/js-sdk@3.0.1/dist/xano.min.js; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Files are the page's files: index.html and what it loads.
func Files() (fs.FS, error) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("demo files: %w", err)
	}
	return files, nil
}

// Handler serves the page below prefix, which ends in a slash.
func Handler(prefix string) (http.Handler, error) {
	files, err := Files()
	if err != nil {
		return nil, err
	}
	return pages.Handler(files, prefix, Policy)
}
