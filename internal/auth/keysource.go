package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeySetBytes = 1 << 20
	freshFor       = 15 * time.Minute // when the answer does not say
	minFreshFor    = time.Minute
	maxFreshFor    = time.Hour
	minBackoff     = time.Second
	maxBackoff     = time.Minute
)

// keySource keeps the newest key set. Its run loop is the only one to fetch; the others wait for a round.
type keySource struct {
	url       string
	client    *http.Client
	timeout   time.Duration
	cooldown  time.Duration
	cacheFile string
	log       *slog.Logger
	metrics   *metrics

	current atomic.Pointer[keySet]
	wake    chan struct{} // capacity 1: somebody wants a round

	mu      sync.Mutex
	round   *round    // asked for or under way; nil = none
	last    time.Time // end of the last round
	lastErr error     // its result
	stopped bool
}

// round is one request to the key server that any number of tokens wait for.
type round struct {
	done    chan struct{}
	err     error // set before done is closed
	waiters int   // guarded by keySource.mu
}

func newKeySource(o Options, m *metrics) *keySource {
	s := &keySource{
		url:       o.JWKSURL,
		client:    o.HTTPClient,
		timeout:   o.FetchTimeout,
		cooldown:  o.Cooldown,
		cacheFile: o.CacheFile,
		log:       o.Logger,
		metrics:   m,
		wake:      make(chan struct{}, 1),
	}
	if set := s.loadCache(); set != nil {
		s.use(set)
	}
	return s
}

func (s *keySource) use(set *keySet) {
	s.current.Store(set)
	s.metrics.keys.Set(float64(len(set.keys)))
	s.metrics.fetched.Set(float64(set.fetched.Unix()))
}

// verify checks the signature; for a key it does not know it has the keys fetched, once.
func (s *keySource) verify(ctx context.Context, signed *jose.JSONWebSignature, alg jose.SignatureAlgorithm, kid string) ([]byte, error) {
	set := s.current.Load()
	keys, named := set.candidates(kid, alg)
	if payload, ok := tryKeys(signed, keys); ok {
		return payload, nil
	}
	if named {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, errCrypto)
	}
	if err := s.refresh(ctx, set); err != nil {
		return nil, err
	}
	keys, named = s.current.Load().candidates(kid, alg)
	if payload, ok := tryKeys(signed, keys); ok {
		return payload, nil
	}
	if named || len(keys) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, errCrypto)
	}
	return nil, fmt.Errorf("%w: kid %.64q", ErrUnknownKey, kid)
}

// refresh waits for keys newer than those the caller has tried. nil also when the server was asked so
// recently that asking again makes no sense.
func (s *keySource) refresh(ctx context.Context, tried *keySet) error {
	s.mu.Lock()
	switch {
	case s.current.Load() != tried:
		s.mu.Unlock()
		return nil
	case s.stopped:
		s.mu.Unlock()
		return fmt.Errorf("%w: stopped", ErrKeysUnavailable)
	case s.round == nil && !s.last.IsZero() && time.Since(s.last) < s.cooldown:
		err := s.lastErr
		s.mu.Unlock()
		return err
	}
	r := s.openRoundLocked()
	if r.waiters >= maxWaiters {
		s.mu.Unlock()
		return fmt.Errorf("%w: too many tokens wait for it", ErrKeysUnavailable)
	}
	r.waiters++
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	timeout := time.NewTimer(s.timeout + time.Second) // run may not have started, or is about to end
	defer timeout.Stop()
	select {
	case <-r.done:
		return r.err
	case <-timeout.C:
		return fmt.Errorf("%w: no answer in time", ErrKeysUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("wait for the key server: %w", ctx.Err())
	}
}

func (s *keySource) openRoundLocked() *round {
	if s.round == nil {
		s.round = &round{done: make(chan struct{})}
	}
	return s.round
}

// run fetches at once, then whenever the keys get old or somebody asks.
func (s *keySource) run(ctx context.Context) error {
	defer s.stop()
	backoff := minBackoff
	for {
		s.mu.Lock()
		s.openRoundLocked()
		s.mu.Unlock()
		fresh, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.closeRound(err)
		wait := fresh
		if err != nil {
			s.metrics.refreshes.WithLabelValues("error").Inc()
			s.log.Warn("the key server for tokens cannot be used", "err", err, "keys", len(s.known()), "retry_in", backoff)
			wait, backoff = backoff, min(2*backoff, maxBackoff)
		} else {
			s.metrics.refreshes.WithLabelValues("ok").Inc()
			backoff = minBackoff
		}
		if !s.wait(ctx, wait-time.Duration(rand.Int64N(int64(wait/10)+1))) {
			return nil
		}
	}
}

// wait ends when the time is up or somebody has opened a round; false when ctx has ended.
func (s *keySource) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-s.wake:
			s.mu.Lock()
			asked := s.round != nil
			s.mu.Unlock()
			if asked { // otherwise it was about the round that has just ended
				return true
			}
		}
	}
}

func (s *keySource) known() []jose.JSONWebKey {
	if set := s.current.Load(); set != nil {
		return set.keys
	}
	return nil
}

func (s *keySource) closeRound(err error) {
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
	}
	s.mu.Lock()
	r := s.round
	s.round, s.last, s.lastErr = nil, time.Now(), err
	s.mu.Unlock()
	r.err = err
	close(r.done)
}

// stop releases whoever still waits.
func (s *keySource) stop() {
	s.mu.Lock()
	s.stopped = true
	r := s.round
	s.round = nil
	s.mu.Unlock()
	if r != nil {
		r.err = fmt.Errorf("%w: stopped", ErrKeysUnavailable)
		close(r.done)
	}
}

// fetch asks the key server and puts its keys in force.
func (s *keySource) fetch(ctx context.Context) (fresh time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return 0, errors.New("address cannot be used")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // without the address, which may hold a secret
	}
	if err != nil {
		return 0, fmt.Errorf("fetch keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("fetch keys: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return 0, fmt.Errorf("read keys: %w", err)
	}
	if len(body) > maxKeySetBytes {
		return 0, fmt.Errorf("read keys: more than %d bytes", maxKeySetBytes)
	}
	set, skipped, err := parseKeySet(body)
	if err != nil {
		return 0, fmt.Errorf("read keys: %w", err)
	}
	if skipped > 0 {
		s.log.Debug("some keys of the key server are of no use here", "keys", len(set.keys), "skipped", skipped)
	}
	set.fetched = time.Now()
	s.use(set)
	s.storeCache(set)
	return freshness(resp.Header.Get("Cache-Control")), nil
}

// freshness reads max-age within bounds: a revoked key should not live long, nor the server be asked all the time.
func freshness(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil {
			return min(max(time.Duration(seconds)*time.Second, minFreshFor), maxFreshFor)
		}
	}
	return freshFor
}
