package policy

import (
	"fmt"
	"net/url"
	"slices"
)

// LifecycleWebhook is an address that gets every lifecycle event of a server at least once.
type LifecycleWebhook struct {
	URL string `json:"url"`
	// Secret signs the calls; several are used while one is being replaced. None = calls are not signed.
	Secret Secrets `json:"secret,omitempty"`
}

const maxWebhooks = 4

func cloneWebhooks(in []LifecycleWebhook) []LifecycleWebhook {
	if len(in) == 0 {
		return nil
	}
	out := slices.Clone(in)
	for i := range out {
		out[i].Secret = slices.Clone(in[i].Secret)
	}
	return out
}

func validateWebhooks(hooks []LifecycleWebhook) error {
	if len(hooks) > maxWebhooks {
		return field("lifecycle_webhooks", "has %d entries, at most %d are allowed", len(hooks), maxWebhooks)
	}
	seen := make(map[string]bool, len(hooks))
	for i := range hooks {
		err := validateTarget(hooks[i].URL, hooks[i].Secret)
		if err == nil && seen[hooks[i].URL] {
			err = field("url", "is listed twice")
		}
		if err != nil {
			return Within(fmt.Sprintf("lifecycle_webhooks[%d]", i), err)
		}
		seen[hooks[i].URL] = true
	}
	return nil
}

// validateTarget checks the address of a webhook and its secrets.
func validateTarget(address string, secrets Secrets) error {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return field("url", "is required")
	case len(address) > maxURL || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return field("url", "must be an http or https address of at most %d bytes", maxURL)
	case len(secrets) > maxSecrets:
		return field("secret", "has %d entries, at most %d are allowed", len(secrets), maxSecrets)
	}
	for i, s := range secrets {
		if _, err := DecodeSecret(s); err != nil {
			name := "secret"
			if len(secrets) > 1 {
				name = fmt.Sprintf("secret[%d]", i)
			}
			return field(name, "%v", err)
		}
	}
	return nil
}
