package pages

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

type asset struct {
	kind, etag   string
	plain, small []byte
}

var errKind = errors.New("unknown kind of file")

// kinds are the types of the files there are; the machine's own table is not asked.
var kinds = map[string]string{ //nolint:gochecknoglobals // a constant table
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Handler serves the files below prefix, which ends in a slash; the prefix itself is index.html. Other paths are not
// found; errors are JSON. Every file carries policy. Its errors are files that cannot be read, or whose kind is not known.
func Handler(files fs.FS, prefix, policy string) (http.Handler, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	assets := make(map[string]*asset)
	for _, entry := range entries {
		a, err := load(files, entry.Name())
		if err != nil {
			return nil, fmt.Errorf("pages: %s: %w", entry.Name(), err)
		}
		assets[entry.Name()] = a
	}
	assets[""] = assets["index.html"]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, below := strings.CutPrefix(r.URL.Path, prefix)
		a := assets[name]
		if !below || a == nil {
			refuse(w, http.StatusNotFound, "not_found", "There is no such path.")
			return
		}
		if readOnly(w, r) {
			a.serve(w, r, policy)
		}
	}), nil
}

func load(files fs.FS, name string) (*asset, error) {
	plain, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	kind := kinds[path.Ext(name)]
	if kind == "" {
		return nil, errKind
	}
	return pack(kind, plain), nil
}

func pack(kind string, plain []byte) *asset {
	var small bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&small, gzip.BestCompression) // the level is a valid one
	_, _ = zip.Write(plain)                                     // into memory
	_ = zip.Close()
	sum := sha256.Sum256(plain)
	return &asset{kind: kind, etag: hex.EncodeToString(sum[:12]), plain: plain, small: small.Bytes()}
}

// Public serves one file of a kind, a media type, that pages of any origin may load.
func Public(kind string, plain []byte) http.Handler {
	a := pack(kind, plain)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if readOnly(w, r) {
			a.send(w, r)
		}
	})
}

// Redirect leads whoever reads to another path.
func Redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if readOnly(w, r) {
			http.Redirect(w, r, to, http.StatusFound)
		}
	})
}

// readOnly tells whether a request only reads; any other is refused.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "This path answers GET, HEAD only.")
	return false
}

// refuse answers an error as the API does. The texts are plain ASCII.
func refuse(w http.ResponseWriter, status int, code, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"code\":%q,\"message\":%q}\n", code, message) // the caller went away: nobody is left to tell
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request, policy string) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	a.send(w, r)
}

func (a *asset) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("X-Content-Type-Options", "nosniff")
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
