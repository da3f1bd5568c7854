package webclient_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	webclient "fanfare/web/client"
)

func TestHandler(t *testing.T) {
	h := webclient.Handler()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/client.js", nil))
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), webclient.Source()) {
		t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
	}
	for header, want := range map[string]string{
		"Content-Type":                "text/javascript; charset=utf-8",
		"Access-Control-Allow-Origin": "*",
		"X-Content-Type-Options":      "nosniff",
	} {
		if got := w.Header().Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	small := httptest.NewRequest(http.MethodGet, "/client.js", nil)
	small.Header.Set("Accept-Encoding", "gzip")
	sw := httptest.NewRecorder()
	h.ServeHTTP(sw, small)
	if sw.Header().Get("Content-Encoding") != "gzip" || sw.Body.Len() > 7<<10 || sw.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("compressed: %d bytes, %v", sw.Body.Len(), sw.Header())
	}
	again := httptest.NewRequest(http.MethodGet, "/client.js", nil)
	again.Header.Set("If-None-Match", w.Header().Get("ETag"))
	w = httptest.NewRecorder()
	h.ServeHTTP(w, again)
	if w.Code != http.StatusNotModified {
		t.Errorf("unchanged: status %d", w.Code)
	}
}

func TestSourceIsOneModule(t *testing.T) {
	source := webclient.Source()
	if !bytes.Contains(source, []byte("as Fanfare")) {
		t.Error("Fanfare is not exported")
	}
	if bytes.Contains(source, []byte("import ")) || bytes.Contains(source, []byte("import{")) {
		t.Error("the client must not import anything")
	}
	if len(source) > 24<<10 {
		t.Errorf("%d bytes: a few KiB were promised", len(source))
	}
}
