package pages_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"fanfare/internal/pages"
)

const policy = "default-src 'none'"

func files() fstest.MapFS {
	return fstest.MapFS{
		"index.html": {Data: []byte(strings.Repeat("<p>", 100))}, "page.js": {Data: []byte(strings.Repeat("f();", 100))},
		"page.css": {Data: []byte(strings.Repeat("a{}", 100))}, "icon.svg": {Data: []byte(strings.Repeat("<g/>", 100))},
	}
}

func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	h, err := pages.Handler(files(), "/page/", policy)
	if err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]string{
		"/page/":           "text/html; charset=utf-8",
		"/page/index.html": "text/html; charset=utf-8",
		"/page/page.js":    "text/javascript; charset=utf-8",
		"/page/page.css":   "text/css; charset=utf-8",
		"/page/icon.svg":   "image/svg+xml",
	} {
		w := get(t, h, path)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", path, w.Code, w.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Type": kind, "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Vary": "Accept-Encoding", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		small := get(t, h, path, "Accept-Encoding", "gzip")
		if small.Header().Get("Content-Encoding") != "gzip" || small.Body.Len() >= w.Body.Len() {
			t.Errorf("%s: %d bytes compressed, %d plain", path, small.Body.Len(), w.Body.Len())
		}
		if small.Header().Get("ETag") == w.Header().Get("ETag") {
			t.Errorf("%s: both encodings have the same tag", path)
		}
		if again := get(t, h, path, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s again: status %d, %d bytes", path, again.Code, again.Body.Len())
		}
	}
	for _, path := range []string{"/page", "/page/../handler.go", "/page/dist/index.html", "/page/nothing", "/"} {
		refused(t, path, get(t, h, path), http.StatusNotFound, "not_found")
	}
	for name, h := range map[string]http.Handler{
		"page": h, "public file": pages.Public("text/javascript", []byte("f();")), "redirect": pages.Redirect("/elsewhere/"),
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "MADEUP"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, "/page/", nil))
			refused(t, method+" "+name, w, http.StatusMethodNotAllowed, "method_not_allowed")
			if allow := w.Header().Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s %s: Allow: %q", method, name, allow)
			}
		}
		if w := get(t, h, "/page/"); w.Code >= http.StatusBadRequest {
			t.Errorf("GET %s: status %d", name, w.Code)
		}
	}
}

// refused checks that an answer is an error as the API has them.
func refused(t *testing.T, what string, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	var e struct{ Code, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if w.Code != status || e.Code != code || e.Message == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s: status %d, %s: %+v", what, w.Code, w.Header().Get("Content-Type"), e)
	}
}

func TestUnknownKind(t *testing.T) {
	f := files()
	f["page.exe"] = &fstest.MapFile{}
	if _, err := pages.Handler(f, "/page/", policy); err == nil || !strings.Contains(err.Error(), "page.exe") {
		t.Errorf("error %v", err)
	}
}
