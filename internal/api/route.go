package api

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// access is what a request must be allowed to.
type access uint8

const (
	accessNone    access = iota // anybody
	accessAdmin                 // settings
	accessRead                  // looking at channels
	accessPublish               // events
	accessControl               // ending sockets
)

// route is one method of one path. The description (openapi.yaml) lists the same ones, and a test compares them.
type route struct {
	method  string
	pattern string // /a/{b}/c
	name    string // for metrics
	access  access
	hash    bool // the path names a server by its hash
	// off lets requests for a disabled server through.
	off    bool
	handle func(*API, *request) error

	segments []string
}

// newRoutes is the table of everything there is.
func newRoutes() []route {
	const (
		meta      = "/api:meta/workspace"
		workspace = meta + "/{id}"
		realtime  = workspace + "/realtime"
		rule      = realtime + "/channel"
		v1        = "/api/v1/{hash}"
	)
	routes := []route{
		{method: http.MethodGet, pattern: "/api/openapi.yaml", name: "openapi", handle: (*API).getDescription},

		{method: http.MethodGet, pattern: meta, name: "workspaces", access: accessAdmin, handle: (*API).listWorkspaces},
		{method: http.MethodPost, pattern: meta, name: "workspaces", access: accessAdmin, handle: (*API).createWorkspace},
		{method: http.MethodGet, pattern: workspace, name: "workspace", access: accessAdmin, handle: (*API).getWorkspace},
		{method: http.MethodPut, pattern: workspace, name: "workspace", access: accessAdmin, handle: (*API).putWorkspace},
		{method: http.MethodDelete, pattern: workspace, name: "workspace", access: accessAdmin, handle: (*API).deleteWorkspace},
		{method: http.MethodGet, pattern: realtime, name: "realtime", access: accessAdmin, handle: (*API).getRealtime},
		{method: http.MethodPut, pattern: realtime, name: "realtime", access: accessAdmin, handle: (*API).putRealtime},
		{method: http.MethodGet, pattern: rule, name: "rules", access: accessAdmin, handle: (*API).listRules},
		{method: http.MethodPost, pattern: rule, name: "rules", access: accessAdmin, handle: (*API).createRule},
		{method: http.MethodGet, pattern: rule + "/{channel_id}", name: "rule", access: accessAdmin, handle: (*API).getRule},
		{method: http.MethodPut, pattern: rule + "/{channel_id}", name: "rule", access: accessAdmin, handle: (*API).putRule},
		{method: http.MethodDelete, pattern: rule + "/{channel_id}", name: "rule", access: accessAdmin, handle: (*API).deleteRule},

		{method: http.MethodPost, pattern: v1 + "/events", name: "events", access: accessPublish, hash: true, handle: (*API).postEvent},
		{method: http.MethodPost, pattern: v1 + "/events/batch", name: "batch", access: accessPublish, hash: true, handle: (*API).postBatch},
		{method: http.MethodGet, pattern: v1 + "/channels", name: "channels", access: accessRead, hash: true, handle: (*API).listChannels},
		{method: http.MethodGet, pattern: v1 + "/channels/{channel}/presence", name: "presence", access: accessRead, hash: true, handle: (*API).getPresence},
		{method: http.MethodGet, pattern: v1 + "/channels/{channel}/history", name: "history", access: accessRead, hash: true, handle: (*API).getHistory},
		{method: http.MethodGet, pattern: v1 + "/connections", name: "connections", access: accessRead, hash: true, off: true, handle: (*API).listConnections},
		{method: http.MethodPost, pattern: v1 + "/disconnect", name: "disconnect", access: accessControl, hash: true, handle: (*API).postDisconnect},
		{method: http.MethodGet, pattern: v1 + "/lifecycle", name: "lifecycle", access: accessRead, hash: true, handle: (*API).getLifecycle},
		{method: http.MethodGet, pattern: v1 + "/explain", name: "explain", access: accessRead, hash: true, off: true, handle: (*API).getExplain},
	}
	for i := range routes {
		routes[i].segments = strings.Split(routes[i].pattern[1:], "/")
	}
	return routes
}

// request is one call on its way.
type request struct {
	w      http.ResponseWriter
	r      *http.Request
	params map[string]string
	log    *slog.Logger
	// key is what the caller showed.
	key *key
	// server is set for paths with a hash.
	server *policy.Server
}

// match finds the route. Segments are taken apart before they are decoded, so that chat%2Fsports is one; there are
// no redirects to tidier paths, which would change what a channel is called.
func (a *API) match(r *http.Request) (*route, map[string]string, error) {
	path := r.URL.EscapedPath()
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allow []string
	for i := range a.routes {
		rt := &a.routes[i]
		params, ok := rt.params(segments)
		switch {
		case !ok:
		case rt.method == method:
			return rt, params, nil
		default:
			allow = append(allow, rt.method)
		}
	}
	if allow == nil {
		return nil, nil, errNoPath
	}
	if slices.Contains(allow, http.MethodGet) {
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	return nil, nil, &methodError{allow: strings.Join(allow, ", ")}
}

// params compares a path with the route's and takes out what stands in braces.
func (rt *route) params(segments []string) (map[string]string, bool) {
	if len(segments) != len(rt.segments) {
		return nil, false
	}
	params := make(map[string]string, 2)
	for i, want := range rt.segments {
		got, err := url.PathUnescape(segments[i])
		if err != nil || got == "" {
			return nil, false
		}
		if name, ok := strings.CutPrefix(want, "{"); ok {
			params[strings.TrimSuffix(name, "}")] = got
		} else if got != want {
			return nil, false
		}
	}
	return params, true
}

// findServer resolves the hash in the path.
func (a *API) findServer(req *request, rt *route) error {
	s := a.o.Settings.Current().ByHash(req.params["hash"])
	switch {
	case s == nil:
		return errUnknownHash
	case !req.key.covers(s.ID):
		return errKeyServer
	case !s.Enabled && !rt.off:
		return errRealtimeOff
	}
	req.server = s
	return nil
}

// findRule checks a channel name, from a path or body, and finds its rule.
func (a *API) findRule(s *policy.Server, name string) (protocol.Channel, *policy.Rule, error) {
	ch, err := protocol.ParseChannel(name, a.o.Limits.ChannelBytes, a.o.Limits.ChannelSegments)
	if err != nil {
		return "", nil, &statusError{status: http.StatusBadRequest, Code: protocol.CodeInvalidChannel, Message: sentence(err), Field: "channel"}
	}
	rule := s.Rule(ch)
	if rule == nil {
		return "", nil, protocol.ErrChannelNotFound
	}
	return ch, rule, nil
}
