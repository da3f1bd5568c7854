package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// Trigger is a webhook of a rule.
type Trigger struct {
	URL     string         `json:"url"`
	Actions TriggerActions `json:"actions"`
	// Secret signs the calls; several are used while one is being replaced. None = calls are not signed.
	Secret Secrets `json:"secret,omitempty"`
	// TimeoutMS is how long one call may take; 0 = the default of whoever calls.
	TimeoutMS int `json:"timeout_ms,omitzero"`
	// OnFailure says what a failed call means. Compile turns the zero value into FailureBlock.
	OnFailure OnFailure `json:"on_failure"`
}

// TriggerActions says when a trigger runs.
type TriggerActions struct {
	Join    bool `json:"join"`
	Message bool `json:"message"`
}

// OnFailure is what happens to a join or message whose trigger failed.
type OnFailure string

// The values of Trigger.OnFailure.
const (
	FailureBlock OnFailure = "block"
	FailureAllow OnFailure = "allow"
)

// Allows tells whether a failed call lets the join or message pass.
func (t *Trigger) Allows() bool { return t.OnFailure == FailureAllow }

// Secrets are signing secrets as in Standard Webhooks, `whsec_` and base64. In JSON they are a string, or a list
// of strings. They never show in logs.
type Secrets []string

var errSecretsType = errors.New("must be a string or a list of strings")

// MarshalJSON writes one secret as a string and several as a list.
func (s Secrets) MarshalJSON() ([]byte, error) {
	var v any = []string(s)
	if len(s) == 1 {
		v = s[0]
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode secrets: %w", err)
	}
	return b, nil
}

// UnmarshalJSON reads null, a string or a list of strings.
func (s *Secrets) UnmarshalJSON(b []byte) error {
	var one *string
	if json.Unmarshal(b, &one) == nil {
		*s = nil
		if one != nil && *one != "" {
			*s = Secrets{*one}
		}
		return nil
	}
	var many []string
	if json.Unmarshal(b, &many) != nil {
		return errSecretsType
	}
	*s = many
	return nil
}

// String hides the secrets.
func (s Secrets) String() string {
	if len(s) == 0 {
		return ""
	}
	return "[hidden]"
}

// GoString hides the secrets.
func (s Secrets) GoString() string { return s.String() }

// LogValue hides the secrets.
func (s Secrets) LogValue() slog.Value { return slog.StringValue(s.String()) }
