package trigger_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/internal/policy"
	"fanfare/internal/trigger"
)

// The vector of the Standard Webhooks specification's own libraries.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	otherSecret     = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func TestSignatureVector(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	err := trigger.SignRequest(h, policy.Secrets{vectorSecret, otherSecret}, vectorID, time.Unix(vectorTime, 0), []byte(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	if h.Get("webhook-id") != vectorID || h.Get("webhook-timestamp") != "1614265330" {
		t.Errorf("got %v", h)
	}
	signatures := strings.Fields(h.Get("webhook-signature"))
	if len(signatures) != 2 || signatures[0] != vectorSignature || signatures[1] == vectorSignature || !strings.HasPrefix(signatures[1], "v1,") {
		t.Errorf("got %v", signatures)
	}
	if err := trigger.SignRequest(h, policy.Secrets{"whsec_short"}, vectorID, time.Unix(vectorTime, 0), nil); err == nil {
		t.Error("a broken secret signs")
	}
}

func TestCallsAreSigned(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		key, err := policy.DecodeSecret(vectorSecret)
		if err != nil {
			t.Error(err)
		}
		id, signature := r.Header.Get("webhook-id"), r.Header.Get("webhook-signature")
		ids[id] = true
		body := read(t, r)
		now := time.Now()
		for _, at := range []time.Time{now, now.Add(-time.Second)} {
			if signature == trigger.Sign(key, id, at, body) {
				return
			}
		}
		t.Errorf("signature %q does not fit", signature)
	})
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	signed := hook(s.URL)
	signed.Secret = policy.Secrets{vectorSecret}
	for range 3 {
		if _, v, err := ask(t, f, trigger.Join, signed); v != trigger.Passed {
			t.Fatal(v, err)
		}
	}
	if len(ids) != 3 {
		t.Errorf("ids repeat: %v", ids)
	}
}

func TestUnsignedAndBrokenSecret(t *testing.T) {
	t.Parallel()
	var header http.Header
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { header = r.Header.Clone() })
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	if _, v, err := ask(t, f, trigger.Join, hook(s.URL)); v != trigger.Passed {
		t.Fatal(v, err)
	}
	if header.Get("webhook-id") == "" || header.Get("webhook-timestamp") == "" || header.Get("webhook-signature") != "" {
		t.Errorf("got %v", header)
	}
	if _, sent := header["Idempotency-Key"]; sent {
		t.Error("a header meant for net/http went out")
	}

	header = nil
	broken := hook(s.URL)
	broken.Secret = policy.Secrets{"whsec_?"}
	if _, v, _ := ask(t, f, trigger.Join, broken); v != trigger.Failed || header != nil {
		t.Errorf("got %v, called with %v", v, header)
	}
	if n := f.counter(t, "join", "configuration"); n != 1 {
		t.Errorf("counted %v", n)
	}
}
