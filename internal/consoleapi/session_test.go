package consoleapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestSessionsEnd(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newSessions("token", func() time.Time { return now })
	visit := func(value string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: value})
		return r
	}
	value, end := s.make()
	if got, ok := s.check(visit(value)); !ok || !got.Equal(end) || !end.Equal(now.Add(lifetime)) {
		t.Fatalf("%v %v", got, ok)
	}
	now = end
	if _, ok := s.check(visit(value)); ok {
		t.Error("the session goes on behind its end")
	}
	for range maxRevoked + 10 {
		now = now.Add(time.Millisecond)
		value, _ = s.make()
		s.revoke(visit(value))
	}
	if len(s.revoked) != maxRevoked {
		t.Errorf("%d are remembered", len(s.revoked))
	}
	if _, ok := s.check(visit(value)); ok {
		t.Error("the last one that signed out is still in")
	}
	now = now.Add(2 * lifetime)
	value, _ = s.make()
	s.revoke(visit(value))
	if len(s.revoked) != 1 {
		t.Errorf("%d of those that have ended are remembered", len(s.revoked)-1)
	}
}
