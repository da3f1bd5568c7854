package trigger

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fanfare/internal/policy"
)

// Headers of Standard Webhooks, in the form net/http keeps them.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// NewMessageID gives a fresh webhook-id.
func NewMessageID() string { return "msg_" + rand.Text() }

// Sign gives one signature of Standard Webhooks: "v1," and the base64 of an HMAC-SHA256.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// SignRequest sets the headers of Standard Webhooks. Several secrets, while one is being replaced, give several
// signatures; without any the call is not signed.
func SignRequest(header http.Header, secrets policy.Secrets, id string, at time.Time, body []byte) error {
	header.Set(headerID, id)
	header.Set(headerTimestamp, strconv.FormatInt(at.Unix(), 10))
	signatures := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		key, err := policy.DecodeSecret(secret)
		if err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		signatures = append(signatures, Sign(key, id, at, body))
	}
	if len(signatures) > 0 {
		header.Set(headerSignature, strings.Join(signatures, " "))
	}
	return nil
}
