package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keyCache is the file in which public keys outlive a restart while the key server is down. It names its
// source: keys of another address are not taken over.
type keyCache struct {
	URL     string          `json:"url"`
	Fetched time.Time       `json:"fetched"`
	Set     json.RawMessage `json:"set"`
}

// loadCache gives the keys of the last run, or nil.
func (s *keySource) loadCache() *keySet {
	if s.cacheFile == "" {
		return nil
	}
	data, err := os.ReadFile(s.cacheFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var cached keyCache
	var set *keySet
	if err == nil {
		err = json.Unmarshal(data, &cached)
	}
	if err == nil {
		if cached.URL != s.url {
			return nil
		}
		set, _, err = parseKeySet(cached.Set)
	}
	if err != nil {
		s.log.Warn("the kept keys cannot be used", "err", err)
		return nil
	}
	set.fetched = cached.Fetched
	return set
}

// storeCache replaces the file in one step. Failing is no reason to refuse tokens.
func (s *keySource) storeCache(set *keySet) {
	if s.cacheFile == "" {
		return
	}
	if err := s.writeCache(set); err != nil {
		s.log.Warn("keys cannot be kept for the next start", "err", err)
	}
}

func (s *keySource) writeCache(set *keySet) error {
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: set.keys})
	if err != nil {
		return fmt.Errorf("encode keys: %w", err)
	}
	data, err := json.Marshal(keyCache{URL: s.url, Fetched: set.fetched, Set: keys})
	if err != nil {
		return fmt.Errorf("encode keys: %w", err)
	}
	dir := filepath.Dir(s.cacheFile)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err //nolint:wrapcheck // names the path
	}
	file, err := os.CreateTemp(dir, filepath.Base(s.cacheFile)+".*")
	if err != nil {
		return err //nolint:wrapcheck // names the path
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(file.Name(), s.cacheFile)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err //nolint:wrapcheck // names the path
}
