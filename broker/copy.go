package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrStreamExists is what CopyStream returns when the target has a stream of that name.
var ErrStreamExists = errors.New("the target broker has that stream already")

const (
	copyChunk    = 128 << 10
	copyPatience = 60 * time.Second // for one chunk, and for the end of a restore
)

// apiFault is what JetStream answers instead of what was asked for.
type apiFault struct {
	Error *struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"error"`
}

// HasStream tells whether a broker has a stream of that name.
func HasStream(ctx context.Context, nc *nats.Conn, name string) (bool, error) {
	return ask(ctx, nc, "STREAM.INFO."+name, nil, nil)
}

// CopyStream copies a stream to another broker with its sequences, by a snapshot that is restored while it is
// read. Nobody may write to it meanwhile. It is refused when the target has a stream of that name.
func CopyStream(ctx context.Context, from, to *nats.Conn, name string, replicas int) error {
	have, err := ask(ctx, to, "STREAM.INFO."+name, nil, nil)
	if err != nil {
		return err
	}
	if have {
		return fmt.Errorf("%w: %s", ErrStreamExists, name)
	}
	inbox := from.NewInbox()
	chunks := make(chan *nats.Msg, 8192)
	sub, err := from.ChanSubscribe(inbox, chunks)
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed soon
	var snapshot struct {
		Config map[string]any  `json:"config"`
		State  json.RawMessage `json:"state"`
	}
	found, err := ask(ctx, from, "STREAM.SNAPSHOT."+name, map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": copyChunk}, &snapshot)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("copy %s: no such stream", name)
	}
	snapshot.Config["num_replicas"] = replicas
	var restore struct {
		DeliverSubject string `json:"deliver_subject"`
	}
	if _, err := ask(ctx, to, "STREAM.RESTORE."+name, map[string]any{"config": snapshot.Config, "state": snapshot.State}, &restore); err != nil {
		return err
	}
	for last := false; !last; {
		var m *nats.Msg
		select {
		case m = <-chunks:
		case <-ctx.Done():
			return fmt.Errorf("copy %s: %w", name, context.Cause(ctx))
		case <-time.After(copyPatience):
			return fmt.Errorf("copy %s: the snapshot does not go on", name)
		}
		if last = len(m.Data) == 0; last && m.Header.Get("Status") >= "400" {
			return fmt.Errorf("copy %s: the snapshot broke off: %s", name, m.Header.Get("Description"))
		}
		answer, err := give(ctx, to, restore.DeliverSubject, m.Data)
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		if err := faultOf(answer.Data); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return fmt.Errorf("copy %s: %w", name, err)
			}
		}
	}
	return nil
}

// give hands one chunk to a restore. That somebody waits for it may not have got round in the cluster yet.
func give(ctx context.Context, to *nats.Conn, subject string, chunk []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	for {
		answer, err := to.RequestWithContext(ctx, subject, chunk)
		if !errors.Is(err, nats.ErrNoResponders) {
			return answer, err //nolint:wrapcheck // the caller names the stream
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, err //nolint:wrapcheck // as above
		}
	}
}

// ask asks JetStream; found is false when there is no such stream.
func ask(ctx context.Context, nc *nats.Conn, verb string, body, into any) (found bool, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return false, fmt.Errorf("%s: %w", verb, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "$JS.API."+verb, text)
	if err != nil {
		return false, fmt.Errorf("%s: %w", verb, err)
	}
	if err := faultOf(m.Data); err != nil {
		if errors.Is(err, errNotFound) {
			return false, nil
		}
		return false, fmt.Errorf("%s: %w", verb, err)
	}
	if into == nil {
		return true, nil
	}
	d := json.NewDecoder(bytes.NewReader(m.Data))
	d.UseNumber() // durations in nanoseconds are too long for a float
	if err := d.Decode(into); err != nil {
		return false, fmt.Errorf("%s: %w", verb, err)
	}
	return true, nil
}

var errNotFound = errors.New("not found")

// faultOf is the error in an answer, or nil.
func faultOf(answer []byte) error {
	var f apiFault
	if len(answer) == 0 || json.Unmarshal(answer, &f) != nil || f.Error == nil {
		return nil
	}
	if f.Error.Code == 404 {
		return errNotFound
	}
	return errors.New(f.Error.Description)
}
