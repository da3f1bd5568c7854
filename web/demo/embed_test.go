package webdemo_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	webdemo "fanfare/web/demo"
)

func TestHandler(t *testing.T) {
	h, err := webdemo.Handler("/demo/")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "index.html", "demo.js", "demo-style.css", "icon.svg"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/demo/"+name, nil))
		if w.Code != http.StatusOK || w.Body.Len() == 0 || w.Header().Get("Content-Security-Policy") != webdemo.Policy {
			t.Errorf("%q: status %d, %d bytes", name, w.Code, w.Body.Len())
		}
	}
}

// The policy forbids inline code, so the page must have none.
func TestPageNeedsNoInlineCode(t *testing.T) {
	files, err := webdemo.Files()
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
	if strings.Contains(webdemo.Policy, "unsafe") {
		t.Error("the policy allows what is unsafe")
	}
}
