// Package webconsole holds the built web console, dist/, so that the Go build needs no Node. It is built by
// `npm run build` in this folder; `npm run check` proves that it is current. The pages load the browser client from
// ../client.js and ask api/ (internal/consoleapi), both relative to the place they are mounted at.
package webconsole

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"fanfare/internal/pages"
)

//go:embed dist
var dist embed.FS

// Policy is the pages' Content-Security-Policy: everything comes from this server, and nothing is inline.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Files are the page's files: index.html and what it loads.
func Files() (fs.FS, error) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("console files: %w", err)
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
