// Command webhook-go moderates a chat: Fanfare asks it about every join and every message of the channels whose
// rule names it as a trigger. It needs nothing but the standard library, so the file can be copied as it is.
//
//	cd examples/webhook-go && WEBHOOK_SECRET=whsec_… go run .
//
// and in the channel's rule:
//
//	"triggers": [{"url": "http://127.0.0.1:8090/", "actions": {"join": true, "message": true}, "secret": "whsec_…"}]
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// request is what Fanfare posts.
type request struct {
	Action  string `json:"action"` // "join" or "message"
	Channel string `json:"channel"`
	Client  struct {
		Extras      map[string]any `json:"extras"`
		Permissions struct {
			DboID int64  `json:"dbo_id"`
			RowID string `json:"row_id"` // "0" for anonymous clients
		} `json:"permissions"`
		SocketID string `json:"socketId"`
	} `json:"client"`
	Payload any `json:"payload"`
}

var (
	rude = regexp.MustCompile(`(?i)\b(darn|heck)\b`)
	spam = regexp.MustCompile(`(?i)buy now`)
)

// decide gives the answer: for a join false refuses; for a message false blocks, anything else is what the
// others receive instead of what was sent.
func decide(r request) any {
	if r.Action == "join" {
		return r.Client.Extras["banned"] != true
	}
	switch payload := r.Payload.(type) {
	case string:
		return moderate(payload)
	case map[string]any:
		if text, ok := payload["text"].(string); ok {
			if payload["text"] = moderate(text); payload["text"] == false {
				return false
			}
		}
	}
	return r.Payload
}

func moderate(text string) any {
	if spam.MatchString(text) {
		return false
	}
	return rude.ReplaceAllStringFunc(text, func(word string) string { return strings.Repeat("*", len(word)) })
}

// verify checks the signature as https://www.standardwebhooks.com has it: an HMAC-SHA256 of id, time and body.
// Several secrets and several signatures make it possible to replace a secret without a gap.
func verify(keys [][]byte, header http.Header, body []byte, now time.Time) error {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("webhook-timestamp is missing or too far away")
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for signature := range strings.FieldsSeq(header.Get("webhook-signature")) {
			if hmac.Equal([]byte(signature), []byte(want)) {
				return nil
			}
		}
	}
	return errors.New("webhook-signature does not fit")
}

func handler(keys [][]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := verify(keys, r.Header, body, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var in request
		if err := json.Unmarshal(body, &in); err != nil {
			http.Error(w, "body is not JSON", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(decide(in))
	}
}

// secrets reads one whsec_… or several with spaces between.
func secrets(text string) ([][]byte, error) {
	var keys [][]byte
	for secret := range strings.FieldsSeq(text) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			return nil, errors.New("WEBHOOK_SECRET is not whsec_ and base64")
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("WEBHOOK_SECRET is not set")
	}
	return keys, nil
}

func run() error {
	keys, err := secrets(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		return err
	}
	address := os.Getenv("LISTEN")
	if address == "" {
		address = "127.0.0.1:8090"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening on http://" + listener.Addr().String() + "/")
	server := &http.Server{Handler: handler(keys), ReadTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
