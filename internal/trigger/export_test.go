package trigger

import "net/http"

// SetTransport replaces the network, for tests with a fake clock.
func (c *Caller) SetTransport(rt http.RoundTripper) { c.client.Transport = rt }

// Endpoints is how many endpoints are kept.
func (c *Caller) Endpoints() int { return c.endpoints.len() }

// Public is the judgement of one address.
var Public = public
