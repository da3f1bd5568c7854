package consoleapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	cookieName = "fanfare_console"
	// maxRevoked bounds what is remembered of sign-outs; beyond it the session that would end first is forgotten.
	maxRevoked = 4096

	numberLen = 16
	bodyLen   = 8 + numberLen
)

type number = [numberLen]byte

// sessions makes and checks cookies.
type sessions struct {
	key [sha256.Size]byte
	now func() time.Time

	mu      *sync.Mutex
	revoked map[number]time.Time // until when they would have been good
}

func newSessions(adminToken string, now func() time.Time) sessions {
	s := sessions{now: now, mu: new(sync.Mutex), revoked: make(map[number]time.Time)}
	m := hmac.New(sha256.New, []byte(adminToken))
	_, _ = m.Write([]byte("fanfare console session 1")) // never fails
	m.Sum(s.key[:0])
	return s
}

func (s *sessions) mac(body []byte) []byte {
	m := hmac.New(sha256.New, s.key[:])
	_, _ = m.Write(body) // never fails
	return m.Sum(nil)
}

// make gives the value of a new session's cookie and its end.
func (s *sessions) make() (string, time.Time) {
	end := s.now().Add(lifetime).Truncate(time.Second)
	body := binary.BigEndian.AppendUint64(make([]byte, 0, bodyLen+sha256.Size), uint64(end.Unix()))
	body = body[:bodyLen]
	_, _ = rand.Read(body[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(append(body, s.mac(body)...)), end
}

// read takes a cookie apart, if it is one of ours and has not ended.
func (s *sessions) read(r *http.Request) (number, time.Time, bool) {
	var n number
	c, err := r.Cookie(cookieName)
	if err != nil {
		return n, time.Time{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) != bodyLen+sha256.Size || !hmac.Equal(raw[bodyLen:], s.mac(raw[:bodyLen])) {
		return n, time.Time{}, false
	}
	end := time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
	copy(n[:], raw[8:])
	return n, end, s.now().Before(end)
}

// check tells until when a request's session is good.
func (s *sessions) check(r *http.Request) (time.Time, bool) {
	n, end, ok := s.read(r)
	if !ok {
		return end, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, gone := s.revoked[n]
	return end, !gone
}

// revoke ends a request's session.
func (s *sessions) revoke(r *http.Request) {
	n, end, ok := s.read(r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.revoked) >= maxRevoked {
		s.makeRoomLocked()
	}
	s.revoked[n] = end
}

func (s *sessions) makeRoomLocked() {
	var first number
	var at time.Time
	for n, end := range s.revoked {
		if !s.now().Before(end) {
			delete(s.revoked, n)
			continue
		}
		if at.IsZero() || end.Before(at) {
			first, at = n, end
		}
	}
	if len(s.revoked) >= maxRevoked {
		delete(s.revoked, first)
	}
}

// cookie is for the console alone: no script reads it, no other site's page sends it.
func cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure follows the connection: the console is used over plain HTTP on a laptop
		Name: cookieName, Value: value, Path: strings.TrimSuffix(Prefix, "api/"), MaxAge: age, HttpOnly: true,
		Secure:   r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
		SameSite: http.SameSiteStrictMode,
	}
}
