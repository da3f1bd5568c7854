package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// remote is the HTTP API of a running server.
type remote struct {
	base   string // http://host:port
	prefix string // of every path
	token  string
	hint   string // what is missing when there is no token
}

// refusal is an answer that says no: 4xx, with the code of the API.
type refusal struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field"`
}

func (e *refusal) Error() string {
	text := strings.TrimSuffix(e.Message, ".")
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	return text
}

// remoteTimeout is longer than the server takes for anything that does not wait.
const remoteTimeout = 30 * time.Second

// segment makes a name one segment of a path.
func segment(name string) string {
	switch name {
	case ".", "..":
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// call makes a request and decodes the answer into out. header names and values follow each other; the answer's
// header is returned.
func (r *remote) call(ctx context.Context, method, path string, query url.Values, body, out any, header ...string) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	address := strings.TrimSuffix(r.base, "/") + r.prefix + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	request.Header.Set("User-Agent", "fanfare-tools")
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := toolHTTP().Do(request)
	if err != nil {
		return nil, unreachable(r.base, err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", r.base, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, r.refused(response.StatusCode, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			return nil, fmt.Errorf("%s does not answer like Fanfare: %w", r.base, err)
		}
	}
	return response.Header, nil
}

// toolHTTP makes a client that leaves nothing behind and takes its token nowhere else.
func toolHTTP() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (r *remote) refused(status int, body []byte) error {
	e := &refusal{status: status}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("%s answered %d %s", r.base, status, http.StatusText(status))
	}
	switch {
	case status == http.StatusUnauthorized && r.token == "":
		return usageError{fmt.Errorf("this needs %s", r.hint)}
	case status >= http.StatusInternalServerError:
		return errors.New(e.Error())
	}
	return e
}

// unreachable says in a few words why there was no answer.
func unreachable(base string, err error) error {
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "dial" {
		return fmt.Errorf("no server at %s (--url or FANFARE_URL says where it is): %w", base, operation.Err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", base, err)
}

// pages calls each for every item of a list that is answered in pages, until it has seen most of them.
func pages[T any](ctx context.Context, r *remote, path string, query url.Values, most int, each func(T)) error {
	for seen := 0; ; {
		var page struct {
			Items []T     `json:"items"`
			Next  *string `json:"next"`
		}
		if _, err := r.call(ctx, http.MethodGet, path, query, nil, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if most > 0 && seen == most {
				return nil
			}
			each(item)
			seen++
		}
		if page.Next == nil || len(page.Items) == 0 || most > 0 && seen == most {
			return nil
		}
		query.Set("cursor", *page.Next)
	}
}
