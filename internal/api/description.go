package api

import (
	_ "embed"
	"strconv"
)

//go:embed openapi.yaml
var description []byte

// getDescription answers the API's own description.
func (a *API) getDescription(req *request) error {
	req.w.Header().Set("Content-Type", "application/yaml")
	req.w.Header().Set("Content-Length", strconv.Itoa(len(description)))
	_, _ = req.w.Write(description)
	return nil
}
