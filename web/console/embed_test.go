package webconsole_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	webconsole "fanfare/web/console"
)

func get(t *testing.T, h http.Handler, path, encoding string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	h, err := webconsole.Handler("/console/")
	if err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]string{
		"/console/":            "text/html; charset=utf-8",
		"/console/index.html":  "text/html; charset=utf-8",
		"/console/console.js":  "text/javascript; charset=utf-8",
		"/console/console.css": "text/css; charset=utf-8",
		"/console/icon.svg":    "image/svg+xml",
	} {
		w := get(t, h, path, "")
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", path, w.Code, w.Body.Len())
		}
		if got := w.Header().Get("Content-Type"); got != kind {
			t.Errorf("%s: type %q", path, got)
		}
		small := get(t, h, path, "gzip")
		if small.Header().Get("Content-Encoding") != "gzip" || small.Body.Len() >= w.Body.Len() {
			t.Errorf("%s: %d bytes compressed, %d plain", path, small.Body.Len(), w.Body.Len())
		}
		if small.Header().Get("ETag") == w.Header().Get("ETag") {
			t.Errorf("%s: both encodings have the same tag", path)
		}
	}
	for _, path := range []string{"/console", "/console/../embed.go", "/console/dist/index.html", "/console/nothing", "/"} {
		if w := get(t, h, path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/console/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
}

// The policy forbids inline code, so the page must have none.
func TestPageNeedsNoInlineCode(t *testing.T) {
	files, err := webconsole.Files()
	if err != nil {
		t.Fatal(err)
	}
	page, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{"<script>", "<style", " style=", " onclick", " onload", "javascript:"} {
		if strings.Contains(string(page), forbidden) {
			t.Errorf("index.html contains %q", forbidden)
		}
	}
	if strings.Contains(webconsole.Policy, "unsafe") {
		t.Error("the policy allows what is unsafe")
	}
}
