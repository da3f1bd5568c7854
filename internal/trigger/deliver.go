package trigger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"fanfare/internal/policy"
)

// deliverTimeout is how long a back end may take to accept a delivery.
const deliverTimeout = 15 * time.Second

// Deliver posts a body, signed as a call to a trigger is, and looks at nothing but the status: 2xx is accepted. The
// same id marks what is sent again. It goes through neither breaker nor slots: who delivers sends one thing after the
// other and waits between failures.
func (c *Caller) Deliver(ctx context.Context, url string, secrets policy.Secrets, id string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return errors.New("url cannot be used")
	}
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return errors.New("url must be http or https")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "fanfare")
	if err := SignRequest(req.Header, secrets, id, time.Now(), body); err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return transportFailure(err)
	}
	defer func() { _ = resp.Body.Close() }()
	discard(resp.Body)
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return fmt.Errorf("%w: %d", errStatus, resp.StatusCode)
	}
	return nil
}
