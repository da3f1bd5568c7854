package tracing

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// The JSON form of OTLP (opentelemetry-proto 1.x, ExportTraceServiceRequest): names in lower camel case, numbers of
// traces and spans in hexadecimal, integers of 64 bits as strings, enumerations as numbers.
type (
	exportRequest struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope      `json:"scope"`
		Spans []spanJSON `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	spanJSON struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		ParentID   string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []attribute `json:"attributes,omitempty"`
		Status     *status     `json:"status,omitempty"`
	}
	status struct {
		Message string `json:"message"`
		Code    int    `json:"code"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
	}
)

// Kinds and codes of OTLP.
const (
	kindInternal, kindServer = 1, 2
	statusError              = 2
)

func text(key, s string) attribute { return attribute{key, value{String: &s}} }

func (t *Tracer) encode(batch []recorded) []byte {
	spans := make([]spanJSON, 0, len(batch))
	for _, r := range batch {
		spans = append(spans, r.json())
	}
	body, err := json.Marshal(exportRequest{[]resourceSpans{{
		Resource: resource{[]attribute{text("service.name", "fanfare"), text("service.version", t.o.Version), text("service.instance.id", string(t.o.Node))}},
		ScopeSpans: []scopeSpans{{
			Scope: scope{Name: "fanfare", Version: t.o.Version},
			Spans: spans,
		}},
	}}})
	if err != nil { // cannot be: strings and nothing else
		t.o.Logger.Error("encode spans", "err", err)
	}
	return body
}

func (r recorded) json() spanJSON {
	s := spanJSON{
		TraceID: r.trace, Name: r.span.Name, Start: nanoseconds(r.span.Begin), End: nanoseconds(latest(r.span.Begin, r.span.End)),
		Kind: kindInternal,
	}
	if r.span.Root {
		s.SpanID, s.Kind = r.root, kindServer
	} else {
		s.SpanID, s.ParentID = newSpanID(), r.root
	}
	for _, a := range r.span.Texts {
		s.Attributes = append(s.Attributes, text(a[0], a[1]))
	}
	for _, a := range r.span.Numbers {
		n := strconv.FormatInt(a.Value, 10)
		s.Attributes = append(s.Attributes, attribute{a.Key, value{Int: &n}})
	}
	if r.span.Failed != "" {
		s.Status = &status{Message: r.span.Failed, Code: statusError}
	}
	return s
}

func latest(a, b time.Time) time.Time {
	if b.Before(a) {
		return a
	}
	return b
}

func nanoseconds(at time.Time) string { return strconv.FormatInt(at.UnixNano(), 10) }

func newSpanID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
