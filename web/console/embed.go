// Package webconsole holds the built web console, dist/, so that the Go build needs no Node. It is built by
// `npm run build` in this folder; `npm run check` proves that it is current. The pages load the browser client from
// ../client.js and ask api/ (internal/consoleapi), both relative to the place they are mounted at.
package webconsole

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
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

type asset struct {
	kind, etag   string
	plain, small []byte
}

// kinds are the types of the files there are; the machine's own table is not asked.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Handler serves the page below prefix, which ends in a slash; the prefix itself is index.html. Other paths are
// not found.
func Handler(prefix string) (http.Handler, error) {
	files, err := Files()
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("console files: %w", err)
	}
	assets := make(map[string]*asset)
	for _, entry := range entries {
		a, err := load(files, entry.Name())
		if err != nil {
			return nil, err
		}
		assets[entry.Name()] = a
	}
	assets[""] = assets["index.html"]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, below := strings.CutPrefix(r.URL.Path, prefix)
		a := assets[name]
		if !below || a == nil {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		a.serve(w, r)
	}), nil
}

func load(files fs.FS, name string) (*asset, error) {
	plain, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("console files: %w", err)
	}
	kind := kinds[path.Ext(name)]
	if kind == "" {
		return nil, fmt.Errorf("console files: %s: unknown type", name)
	}
	var small bytes.Buffer
	zip, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err == nil {
		_, err = zip.Write(plain)
	}
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("console files: %s: %w", name, err)
	}
	sum := sha256.Sum256(plain)
	return &asset{kind: kind, etag: hex.EncodeToString(sum[:12]), plain: plain, small: small.Bytes()}, nil
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "public, max-age=0, must-revalidate")
	h.Set("Vary", "Accept-Encoding")
	body, etag := a.plain, `"`+a.etag+`"`
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body, etag = a.small, `"`+a.etag+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
