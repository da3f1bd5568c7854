package policy

import (
	"errors"
	"testing"
)

func TestLifecycleWebhooks(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	base := Server{ID: 1, Hash: "h"}
	s, err := DecodeServer([]byte(`{"lifecycle_webhooks":[{"url":"https://a.example/x","secret":"`+secret+`"}]}`), base)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := Compile(s, Limits{})
	if err != nil || len(compiled.LifecycleWebhooks) != 1 || compiled.LifecycleWebhooks[0].Secret[0] != secret {
		t.Fatal(compiled, err)
	}
	masked := compiled.Masked()
	if masked.LifecycleWebhooks[0].Secret[0] == secret || compiled.LifecycleWebhooks[0].Secret[0] != secret {
		t.Error("the secret shows, or the mask went into the settings")
	}
	UnmaskWebhooks(masked.LifecycleWebhooks, compiled)
	if masked.LifecycleWebhooks[0].Secret[0] != secret {
		t.Error("the mask was not turned back")
	}
	kept, err := DecodeServer([]byte(`{"name":"x"}`), *compiled)
	if err != nil || len(kept.LifecycleWebhooks) != 1 {
		t.Error("what was not mentioned is gone", err)
	}
	for body, want := range map[string]string{
		`[{"url":"ftp://a.example"}]`:                "lifecycle_webhooks[0].url",
		`[{"url":""}]`:                               "lifecycle_webhooks[0].url",
		`[{"url":"https://a.example","secret":"x"}]`: "lifecycle_webhooks[0].secret",
		`[{"url":"https://a"},{"url":"https://a"}]`:  "lifecycle_webhooks[1].url",
		`[{"url":"https://a"},{"url":"https://b"},{"url":"https://c"},{"url":"https://d"},{"url":"https://e"}]`: "lifecycle_webhooks",
	} {
		s, err := DecodeServer([]byte(`{"lifecycle_webhooks":`+body+`}`), base)
		if err == nil {
			_, err = Compile(s, Limits{})
		}
		if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}
