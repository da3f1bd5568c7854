package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"fanfare/protocol"
)

// scope is what a key may do.
type scope string

const (
	scopeAll     scope = "all"     // everything under /api/v1
	scopePublish scope = "publish" // events
	scopeRead    scope = "read"    // channels, presence, history, lifecycle, explain
	scopeAdmin   scope = "admin"   // /api/v1 and the settings
)

// key is one bearer key. Only its digest is kept: what is compared then has one length, and a dump of memory or a
// log shows nothing.
type key struct {
	digest [sha256.Size]byte
	scope  scope
	server protocol.ServerID // 0 = all
}

// covers tells whether the key is for a server.
func (k *key) covers(id protocol.ServerID) bool { return k.server == 0 || k.server == id }

// may tells whether the key is enough for something.
func (k *key) may(want access) bool {
	switch k.scope {
	case scopeAdmin:
		return true
	case scopeAll:
		return want != accessAdmin
	case scopePublish:
		return want == accessPublish
	case scopeRead:
		return want == accessRead
	}
	return false
}

// keyring is all keys. Several at once are for rotation.
type keyring struct {
	keys        []key
	admin, apis bool // whether there is any key for the settings, and for /api/v1
}

// newKeyring reads the configured keys. An entry is `key`, or `key:scope` with one of the scopes all, publish, read
// and admin, or `key:scope@N` to bind it to realtime server N. Errors do not repeat the entry, it is a secret.
func newKeyring(adminToken string, entries []string) (keyring, error) {
	var ring keyring
	if adminToken != "" {
		ring.keys = append(ring.keys, key{digest: sha256.Sum256([]byte(adminToken)), scope: scopeAdmin})
		ring.admin = true
	}
	for i, entry := range entries {
		k, err := parseKey(entry)
		if err != nil {
			return keyring{}, fmt.Errorf("api_keys[%d]: %w", i, err)
		}
		ring.keys = append(ring.keys, k)
		ring.apis = true
		ring.admin = ring.admin || k.scope == scopeAdmin
	}
	return ring, nil
}

func parseKey(entry string) (key, error) {
	text, suffix, scoped := entry, "", false
	if i := strings.LastIndexByte(entry, ':'); i >= 0 {
		text, suffix, scoped = entry[:i], entry[i+1:], true
	}
	k := key{digest: sha256.Sum256([]byte(text)), scope: scopeAll}
	if scoped {
		name, number, bound := strings.Cut(suffix, "@")
		k.scope = scope(name)
		switch k.scope {
		case scopeAll, scopePublish, scopeRead, scopeAdmin:
		default:
			return key{}, fmt.Errorf("the scope behind the last colon must be %s, %s, %s or %s", scopeAll, scopePublish, scopeRead, scopeAdmin)
		}
		if bound {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 1 {
				return key{}, fmt.Errorf("the realtime server behind the @ must be a number from 1")
			}
			k.server = protocol.ServerID(n)
		}
	}
	if strings.TrimSpace(text) == "" || strings.ContainsAny(text, " \t\r\n") {
		return key{}, fmt.Errorf("the key must not be empty or contain spaces")
	}
	return k, nil
}

// find compares with every key, in a time that does not depend on which one it is or how much of it is right.
func (ring *keyring) find(token string) *key {
	digest := sha256.Sum256([]byte(token))
	var found *key
	for i := range ring.keys {
		if subtle.ConstantTimeCompare(digest[:], ring.keys[i].digest[:]) == 1 && found == nil {
			found = &ring.keys[i]
		}
	}
	return found
}

// admit checks the bearer key of a request.
func (a *API) admit(req *request, want access) error {
	if want == accessNone {
		return nil
	}
	on := a.keys.apis || a.keys.admin
	off := errAPIOff
	if want == accessAdmin {
		on, off = a.keys.admin, errAdminOff
	}
	if !on {
		return off
	}
	// The admin token opens /api/v1 too, but without api_keys nobody else needs to hear more than that it is off.
	none, wrong := errNoKey, errBadKey
	if want != accessAdmin && !a.keys.apis {
		none, wrong = errAPIOff, errAPIOff
	}
	token, ok := bearer(req.r)
	if !ok {
		return none
	}
	from := addrOf(req.r)
	digest := sha256.Sum256([]byte(token))
	if after, blocked := a.throttle.blocked(from, digest); blocked {
		a.metrics.authFailures.WithLabelValues("throttled").Inc()
		return &statusError{
			status: http.StatusTooManyRequests, Code: protocol.CodeRateLimited,
			Message: "Too many wrong keys came from this address. Try again later.", retryAfter: after,
		}
	}
	k := a.keys.find(token)
	if k == nil {
		a.throttle.failed(from)
		a.metrics.authFailures.WithLabelValues("unknown").Inc()
		return wrong
	}
	a.throttle.succeeded(from, digest)
	if !k.may(want) {
		a.metrics.authFailures.WithLabelValues("scope").Inc()
		return errScope
	}
	req.key = k
	return nil
}

func bearer(r *http.Request) (string, bool) {
	kind, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(kind, "Bearer") && token != ""
}
