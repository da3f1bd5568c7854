package api

import (
	"net/http"
	"slices"
	"testing"
)

// TestDescriptionIsComplete compares the routes with the description, both ways, and each route's access with what it
// says about keys.
func TestDescriptionIsComplete(t *testing.T) {
	d := loadDescription(t)
	if d.doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", d.doc.OpenAPI)
	}
	var served, described []string
	for _, rt := range newRoutes() {
		served = append(served, rt.method+" "+rt.pattern)
		item := d.doc.Paths.Find(rt.pattern)
		if item == nil || item.GetOperation(rt.method) == nil {
			continue
		}
		op := item.GetOperation(rt.method)
		open := op.Security != nil && len(*op.Security) == 0
		if open != (rt.access == accessNone) {
			t.Errorf("%s %s: the description says open=%v", rt.method, rt.pattern, open)
		}
	}
	for path, item := range d.doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served\n%v\ndescribed\n%v", served, described)
	}
}

func TestDescriptionIsServed(t *testing.T) {
	b := newBench(t)
	r := b.call(http.MethodGet, "/api/openapi.yaml", "", "").want(t, http.StatusOK, "")
	if string(r.body) != string(description) || r.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%s: %d bytes", r.header.Get("Content-Type"), len(r.body))
	}
}
