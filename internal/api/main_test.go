package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/natstest"
	"fanfare/internal/policy"
	"fanfare/internal/settings"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

const (
	adminToken = "admin-token"
	apiKey     = "api-key"
)

// bench is an API with a real store of settings and a backend in memory. Every answer it gives is held against the
// description, and so is every request it accepts.
type bench struct {
	t       testing.TB
	api     *API
	store   *settings.Store
	backend *memory
	doc     *description31
}

type setup func(*Options)

func newBench(t testing.TB, setups ...setup) *bench {
	t.Helper()
	b := &bench{t: t, backend: newMemory(), doc: loadDescription(t)}
	b.store = newSettings(t)
	_, err := b.store.Update(t.Context(), 1, 0, func(s *policy.Server) error {
		s.Name, s.Enabled, s.Hash = "Demo", true, "demo"
		s.Channels = []policy.Rule{
			{Pattern: "room1", Enabled: true, AnonymousClients: true, ClientPublicMessaging: true, Presence: true},
			{
				Pattern: "chat/*", Enabled: true, History: 100, Presence: true, ClientPublicMessaging: true, ClientAuthenticatedMessaging: true,
				ClientPrivateMessaging: true, ClientPrivateMessagingAuthenticatedOnly: true,
			},
			{Pattern: "off", Enabled: false},
			{Pattern: "hook", Enabled: true, Triggers: []policy.Trigger{{
				URL: "https://example.test/hook", Actions: policy.TriggerActions{Join: true}, Secret: policy.Secrets{secretA, secretB},
			}}},
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Settings: b.store, Backend: b.backend, AdminToken: adminToken, APIKeys: []string{apiKey},
		Registerer: prometheus.NewPedanticRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range setups {
		f(&o)
	}
	if b.api, err = New(o); err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	secretA = "whsec_MfKQ9r8GKYqwTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func newSettings(t testing.TB) *settings.Store {
	t.Helper()
	broker, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	if !broker.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not start")
	}
	closed := make(chan struct{})
	nc, err := nats.Connect("", nats.InProcessServer(broker), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		<-closed
		broker.Shutdown()
		broker.WaitForShutdown()
	})
	s, err := settings.New(settings.Options{Conn: nc})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// fileSettings is a store whose settings come from a file.
func fileSettings(t testing.TB) *settings.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte("servers: [{id: 1, enabled: true, hash: demo, channels: [{pattern: a}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := settings.New(settings.Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *reply) json(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

func (r *reply) code() string {
	var e struct{ Code string }
	_ = json.Unmarshal(r.body, &e)
	return e.Code
}

// call asks with a key and optional headers (name, value, …).
func (b *bench) call(method, path, key, body string, headers ...string) *reply {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	out := &reply{status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	b.doc.check(b.t, r, body, out)
	return out
}

func (b *bench) admin(method, path, body string, headers ...string) *reply {
	b.t.Helper()
	return b.call(method, "/api:meta/workspace"+path, adminToken, body, headers...)
}

func (b *bench) v1(method, path, body string, headers ...string) *reply {
	b.t.Helper()
	return b.call(method, "/api/v1/demo"+path, apiKey, body, headers...)
}

// want fails unless the status and, for errors, the code are as expected; text must be in the body.
func (r *reply) want(t testing.TB, status int, code string, texts ...string) *reply {
	t.Helper()
	if r.status != status || code != "" && r.code() != code {
		t.Fatalf("answer %d %s, want %d %s", r.status, r.body, status, code)
	}
	for _, text := range texts {
		if !bytes.Contains(r.body, []byte(text)) {
			t.Errorf("answer %s, want %q in it", r.body, text)
		}
	}
	return r
}

// description31 is openapi.yaml, loaded.
type description31 struct {
	doc    *openapi3.T
	router routers.Router
}

var loadOnce = sync.OnceValues(func() (*description31, error) {
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	return &description31{doc: doc, router: router}, nil
})

func loadDescription(t testing.TB) *description31 {
	t.Helper()
	d, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// check holds an exchange against the description: every answer must be one it tells of, and what is accepted must be
// something it allows.
func (d *description31) check(t testing.TB, r *http.Request, body string, out *reply) {
	t.Helper()
	r = r.Clone(context.Background())
	if r.Method == http.MethodHead {
		return
	}
	r.Body = io.NopCloser(strings.NewReader(body))
	route, params, err := d.router.FindRoute(r)
	if err != nil {
		if out.status != http.StatusNotFound && out.status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s answers %d, but is not described: %v", r.Method, r.URL, out.status, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if out.status < 300 && body != "" {
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s accepts what the description does not allow: %v", r.Method, r.URL, err)
		}
	}
	if out.header.Get("Content-Type") == "text/event-stream" {
		return
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: out.status, Header: out.header, Body: io.NopCloser(bytes.NewReader(out.body)),
	})
	if err != nil {
		t.Errorf("%s %s answers %d %s, not as described: %v", r.Method, r.URL, out.status, out.body, err)
	}
}

// memory is a backend that keeps everything in maps.
type memory struct {
	mu      sync.Mutex
	offset  uint64
	newest  map[protocol.Channel]uint64
	ids     map[string]protocol.Receipt
	frames  map[protocol.Channel][]json.RawMessage
	events  []Event
	ended   []DisconnectQuery
	members map[protocol.Channel][]protocol.SessionID
	asked   []ConnectionsQuery
	sockets map[protocol.SessionID]json.RawMessage
	silent  []protocol.NodeID
	atomic  bool  // whether batches may be atomic
	fail    error // what every call answers
}

func newMemory() *memory {
	return &memory{
		newest: make(map[protocol.Channel]uint64), ids: make(map[string]protocol.Receipt),
		frames: make(map[protocol.Channel][]json.RawMessage), members: make(map[protocol.Channel][]protocol.SessionID),
	}
}

func (m *memory) Publish(_ context.Context, e Event) (protocol.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return protocol.Receipt{}, m.fail
	}
	return m.publishLocked(e)
}

func (m *memory) publishLocked(e Event) (protocol.Receipt, error) {
	if r, ok := m.ids[string(e.Channel)+"\n"+e.ID]; ok && e.ID != "" {
		r.Duplicate = true
		return r, nil
	}
	if e.ExpectOffset != nil && *e.ExpectOffset != m.newest[e.Channel] {
		return protocol.Receipt{}, ErrOffsetConflict
	}
	r := protocol.Receipt{ID: e.ID}
	if r.ID == "" {
		r.ID = "made-up"
	}
	m.events = append(m.events, e)
	if e.Store {
		m.offset++
		m.newest[e.Channel] = m.offset
		r.Position = protocol.Position{Epoch: "e", Offset: m.offset}
		frame, _ := json.Marshal(map[string]any{
			"action": "event", "options": map[string]any{"channel": e.Channel}, "client": nil, "payload": map[string]any{"data": e.Data},
		})
		m.frames[e.Channel] = append(m.frames[e.Channel], frame)
	}
	if e.ID != "" {
		m.ids[string(e.Channel)+"\n"+e.ID] = r
	}
	return r, nil
}

func (m *memory) PublishBatch(_ context.Context, events []Event, atomic bool) ([]Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if atomic && !m.atomic {
		return nil, ErrAtomicUnsupported
	}
	if atomic {
		for i, e := range events {
			if e.ExpectOffset != nil && *e.ExpectOffset != m.newest[e.Channel] {
				return nil, &BatchError{Index: i, Err: ErrOffsetConflict}
			}
		}
	}
	out := make([]Result, len(events))
	for i, e := range events {
		out[i].Receipt, out[i].Err = m.publishLocked(e)
	}
	return out, nil
}

func (m *memory) Channels(_ context.Context, q ChannelsQuery) (ChannelsPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return ChannelsPage{}, m.fail
	}
	var p ChannelsPage
	if q.Names != nil {
		for _, c := range q.Names {
			p.Items = append(p.Items, ChannelState{Channel: c, Occupancy: len(m.members[c])})
		}
		return p, nil
	}
	for _, c := range slices.Sorted(maps.Keys(m.members)) {
		switch {
		case c <= q.After || !strings.HasPrefix(string(c), q.Prefix):
		case len(p.Items) == q.Limit:
			p.More = true
		default:
			p.Items = append(p.Items, ChannelState{Channel: c, Occupancy: len(m.members[c])})
		}
	}
	return p, nil
}

func (m *memory) Presence(_ context.Context, q PresenceQuery) (PresencePage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return PresencePage{}, m.fail
	}
	var p PresencePage
	last := ""
	for _, s := range m.members[q.Channel] {
		switch {
		case string(s) <= q.After:
		case len(p.Items) == q.Limit:
			p.Next = last
		default:
			entry, _ := json.Marshal(map[string]any{
				"socketId": s, "extras": map[string]any{}, "permissions": map[string]any{"dbo_id": 0, "row_id": 0},
			})
			p.Items = append(p.Items, entry)
			last = string(s)
		}
	}
	return p, nil
}

func (m *memory) History(_ context.Context, q HistoryQuery) (HistoryPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return HistoryPage{}, m.fail
	}
	var p HistoryPage
	for c, frames := range m.frames {
		if c == q.Channel || q.Channel.Covers(c) {
			p.Frames = append(p.Frames, frames...)
		}
	}
	if len(p.Frames) > q.Limit {
		p.More = true
		p.Frames = p.Frames[len(p.Frames)-q.Limit:]
	}
	for range p.Frames {
		p.Times = append(p.Times, time.Unix(1_800_000_000, 0))
	}
	return p, nil
}

func (m *memory) Connections(_ context.Context, q ConnectionsQuery) (ConnectionsPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return ConnectionsPage{}, m.fail
	}
	m.asked = append(m.asked, q)
	p := ConnectionsPage{Unanswered: m.silent}
	for _, id := range slices.Sorted(maps.Keys(m.sockets)) {
		switch {
		case id <= q.After || q.Session != "" && q.Session != id:
		case len(p.Items) == q.Limit:
			return p, nil
		default:
			p.Items, p.Next = append(p.Items, m.sockets[id]), id
		}
	}
	p.Next = ""
	return p, nil
}

func (m *memory) Disconnect(_ context.Context, q DisconnectQuery) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	m.ended = append(m.ended, q)
	return 2, nil
}
