package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

const (
	maxFile          = 16 << 20
	defaultFileCheck = 500 * time.Millisecond
)

// fileSource is a settings file as source. It is read whole at every check: a file of this size costs
// microseconds, and neither a change within one tick of the file system's clock nor a directory swapped under a
// symbolic link (as Kubernetes does) is missed.
type fileSource struct {
	store *Store
	// Used by load, then by run.
	content []byte // what was looked at last
	bad     bool   // content cannot be used
	problem string // what was logged last; empty = all is well
	loads   uint64
}

func (f *fileSource) ensure(context.Context) error { return nil }

func (f *fileSource) load(context.Context) error {
	content, err := f.read()
	if err != nil {
		return err
	}
	f.content = content
	return f.take(content)
}

func (f *fileSource) run(ctx context.Context) error {
	interval := f.store.o.CheckInterval
	if interval == 0 {
		interval = defaultFileCheck
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.check()
		}
	}
}

// check takes the file over when it is another one than at the last look. A problem is told once, not at every look.
func (f *fileSource) check() {
	content, err := f.read()
	if err == nil {
		if bytes.Equal(content, f.content) {
			if !f.bad {
				f.problem = "" // it was out of reach for a while
				f.store.metrics.refused.Set(0)
			}
			return
		}
		f.content = content
		err = f.take(content)
		f.bad = err != nil
	}
	switch {
	case err == nil:
		f.problem = ""
		f.store.metrics.refused.Set(0)
		return
	case err.Error() == f.problem:
		return
	}
	f.store.metrics.refused.Set(1)
	f.problem = err.Error()
	f.store.metrics.invalid.Inc()
	f.store.log.Error("settings: file cannot be used; the previous settings stay in force", "err", err)
}

func (f *fileSource) read() ([]byte, error) {
	file, err := os.Open(f.store.o.File)
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > maxFile {
		return nil, fmt.Errorf("settings file %s: larger than %d bytes", f.store.o.File, maxFile)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	if len(content) > maxFile { // it grew meanwhile, or has no size
		return nil, fmt.Errorf("settings file %s: larger than %d bytes", f.store.o.File, maxFile)
	}
	return content, nil
}

// take puts a content in force. A server that did not change stays the very same value.
func (f *fileSource) take(content []byte) error {
	s := f.store
	servers, err := Parse(content, s.o.Limits)
	if err != nil {
		return fmt.Errorf("settings file %s: %w", s.o.File, err)
	}
	f.loads++
	entries := make(map[protocol.ServerID]*entry, len(servers))
	old := s.Current()
	changed := len(servers) != len(old.Servers())
	for _, server := range servers {
		server.Revision = f.loads
		if before := old.ByID(server.ID); before != nil && same(before, server) {
			server = before
		} else {
			server.Succeed(before, time.Now())
			changed = true
		}
		entries[server.ID] = &entry{revision: server.Revision, server: server}
	}
	if !changed {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.entries = entries
	s.swapLocked()
	return nil
}

// same compares what a file says.
func same(a, b *policy.Server) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
