package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	secretPrefix = "whsec_"
	// maskPrefix begins what is answered instead of a secret. The underscore behind it is no base64, so a mask is
	// never a secret.
	maskPrefix = secretPrefix + "masked_"

	minSecretBytes = 16
	maxSecretBytes = 64
)

var errSecret = errors.New("must be whsec_ and 16 to 64 bytes in base64")

// DecodeSecret gives the key in a secret.
func DecodeSecret(s string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, secretPrefix)
	if !ok {
		return nil, errSecret
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, errSecret
	}
	return key, nil
}

// mask gives what stands for a secret in answers: enough to recognise it again, nothing to sign with.
func mask(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return maskPrefix + hex.EncodeToString(sum[:8])
}

// Masked gives a copy whose secrets are replaced by masks. Answers of the settings API show these, because what
// is answered ends in browser tabs, shell histories and screenshots, and whoever has a secret can forge calls to
// the owner's back end. Unmask turns them back, so writing a masked answer back changes nothing.
func (s *Server) Masked() Server {
	c := s.Clone()
	for i := range c.Channels {
		c.Channels[i].mask()
	}
	for i := range c.LifecycleWebhooks {
		for j, secret := range c.LifecycleWebhooks[i].Secret {
			c.LifecycleWebhooks[i].Secret[j] = mask(secret)
		}
	}
	return c
}

// Masked is the same for one rule.
func (r *Rule) Masked() Rule {
	c := r.Clone()
	c.mask()
	return c
}

func (r *Rule) mask() {
	for i := range r.Triggers {
		for j, s := range r.Triggers[i].Secret {
			r.Triggers[i].Secret[j] = mask(s)
		}
	}
}

// Unmask replaces the masks in the rules by the secrets of stored (which may be nil) that they stand for, wherever
// they are in it: rules and triggers may have been moved about. A mask that stands for nothing is left, for
// Compile to refuse.
func Unmask(rules []Rule, stored *Server) {
	var known map[string]string
	for i := range rules {
		for j := range rules[i].Triggers {
			for k, s := range rules[i].Triggers[j].Secret {
				if !strings.HasPrefix(s, maskPrefix) {
					continue
				}
				if known == nil {
					known = masksOf(stored)
				}
				if secret, ok := known[s]; ok {
					rules[i].Triggers[j].Secret[k] = secret
				}
			}
		}
	}
}

// UnmaskWebhooks is Unmask for lifecycle webhooks.
func UnmaskWebhooks(hooks []LifecycleWebhook, stored *Server) {
	known := masksOf(stored)
	for i := range hooks {
		for j, s := range hooks[i].Secret {
			if secret, ok := known[s]; ok && strings.HasPrefix(s, maskPrefix) {
				hooks[i].Secret[j] = secret
			}
		}
	}
}

func masksOf(s *Server) map[string]string {
	known := make(map[string]string)
	if s == nil {
		return known
	}
	for i := range s.LifecycleWebhooks {
		for _, secret := range s.LifecycleWebhooks[i].Secret {
			known[mask(secret)] = secret
		}
	}
	for i := range s.Channels {
		for j := range s.Channels[i].Triggers {
			for _, secret := range s.Channels[i].Triggers[j].Secret {
				known[mask(secret)] = secret
			}
		}
	}
	return known
}
