package trigger

import (
	"container/list"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"fanfare/protocol"
)

const (
	endpointIdle = 10 * time.Minute // how long an unused endpoint is remembered
	logInterval  = 10 * time.Second // at most one failure of an endpoint is logged in it
)

type endpointKey struct {
	server protocol.ServerID
	url    string
}

// endpoint is the state of one webhook address.
type endpoint struct {
	key     endpointKey
	host    string // for logs: the rest of the URL may hold secrets
	breaker *gobreaker.CircuitBreaker[[]byte]
	slots   *semaphore.Weighted
	logs    rate.Sometimes

	// Guarded by endpoints.mu.
	users int // calls under way and waiting
	used  time.Time
}

// endpoints is the bounded set of them, the most recently used in front.
type endpoints struct {
	limits Limits
	log    *slog.Logger

	mu    sync.Mutex
	byKey map[endpointKey]*list.Element
	order *list.List
}

func newEndpoints(limits Limits, log *slog.Logger) *endpoints {
	return &endpoints{limits: limits, log: log, byKey: map[endpointKey]*list.Element{}, order: list.New()}
}

// acquire gives the endpoint for one call; release must follow. nil = a bound was reached.
func (e *endpoints) acquire(key endpointKey) (*endpoint, error) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if el, known := e.byKey[key]; known {
		ep := el.Value.(*endpoint)
		if ep.users >= e.limits.Concurrency+e.limits.Waiting {
			return nil, errSlots
		}
		ep.users++
		ep.used = now
		e.order.MoveToFront(el)
		return ep, nil
	}
	e.evictLocked(now)
	if len(e.byKey) >= e.limits.Endpoints {
		return nil, errEndpoints
	}
	ep := e.newEndpoint(key)
	ep.users, ep.used = 1, now
	e.byKey[key] = e.order.PushFront(ep)
	return ep, nil
}

func (e *endpoints) release(ep *endpoint) {
	e.mu.Lock()
	ep.users--
	e.mu.Unlock()
}

// evictLocked forgets endpoints unused for long and, when there is no room, the one unused for longest.
func (e *endpoints) evictLocked(now time.Time) {
	for el := e.order.Back(); el != nil; {
		ep := el.Value.(*endpoint)
		before := el.Prev()
		old := now.Sub(ep.used) > endpointIdle
		if !old && len(e.byKey) < e.limits.Endpoints {
			return
		}
		if ep.users == 0 {
			delete(e.byKey, ep.key)
			e.order.Remove(el)
		}
		el = before
	}
}

func (e *endpoints) newEndpoint(key endpointKey) *endpoint {
	ep := &endpoint{
		key:   key,
		slots: semaphore.NewWeighted(int64(e.limits.Concurrency)),
		logs:  rate.Sometimes{Interval: logInterval},
	}
	if u, err := url.Parse(key.url); err == nil {
		ep.host = u.Host
	}
	ep.breaker = gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		MaxRequests:  1,
		Timeout:      e.limits.BreakerOpen,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= e.limits.BreakerFailures },
		IsSuccessful: func(err error) bool { return !trips(err) },
		IsExcluded: func(err error) bool {
			f, ok := err.(*failure) //nolint:errorlint // as returned by call
			return ok && f.outcome == outcomeCanceled
		},
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				e.log.Warn("webhook endpoint keeps failing and is not called for a while",
					"host", ep.host, "server", int64(key.server), "pause", e.limits.BreakerOpen)
			case gobreaker.StateClosed:
				e.log.Info("webhook endpoint answers again", "host", ep.host, "server", int64(key.server))
			case gobreaker.StateHalfOpen:
			}
		},
	})
	return ep
}

func (e *endpoints) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.byKey)
}

// open counts the endpoints whose breaker lets no or only a trial call pass.
func (e *endpoints) open() int {
	e.mu.Lock()
	all := make([]*endpoint, 0, len(e.byKey))
	for el := e.order.Front(); el != nil; el = el.Next() {
		all = append(all, el.Value.(*endpoint))
	}
	e.mu.Unlock()
	n := 0
	for _, ep := range all { // outside our lock: State may log a change
		if ep.breaker.State() != gobreaker.StateClosed {
			n++
		}
	}
	return n
}
