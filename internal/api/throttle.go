package api

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Failures an address may have: this many at once, and one more every so often.
const (
	failuresBurst = 20
	failureEvery  = 3 * time.Second
	maxAddresses  = 8192
	maxGood       = 8
)

// addr is who a failure is counted against: an IPv4 address, or the /64 network of an IPv6 one.
type addr = netip.Prefix

// throttle slows down the guessing of keys. An address with too many failures is not even compared with the keys any
// more. Behind a proxy many people share one address, so keys that were right from there lately go on being right:
// somebody who guesses cannot lock out the back end beside him.
type throttle struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[addr]*failures
}

// failures is a bucket of allowed failures, with the digests of keys that were right.
type failures struct {
	left float64
	at   time.Time
	good [][sha256.Size]byte
}

// addrOf gives the address of the peer; the zero addr when it has none that can be read.
func addrOf(r *http.Request) addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return addr{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return addr{}
	}
	return p
}

// blocked tells whether an address must wait, and for how many seconds.
func (t *throttle) blocked(from addr, digest [sha256.Size]byte) (int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.seen[from]
	if f == nil {
		return 0, false
	}
	t.refillLocked(f)
	if f.left >= 1 || slices.Contains(f.good, digest) {
		return 0, false
	}
	return int(failureEvery/time.Second) + 1, true
}

// failed counts a wrong key.
func (t *throttle) failed(from addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.entryLocked(from)
	t.refillLocked(f)
	f.left = max(0, f.left-1)
}

// succeeded remembers a right key, where there were failures at all or soon may be.
func (t *throttle) succeeded(from addr, digest [sha256.Size]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.entryLocked(from)
	if slices.Contains(f.good, digest) {
		return
	}
	if len(f.good) == maxGood {
		f.good = slices.Delete(f.good, 0, 1)
	}
	f.good = append(f.good, digest)
}

func (t *throttle) refillLocked(f *failures) {
	now := t.now()
	f.left = min(failuresBurst, f.left+now.Sub(f.at).Seconds()/failureEvery.Seconds())
	f.at = now
}

func (t *throttle) entryLocked(from addr) *failures {
	if f := t.seen[from]; f != nil {
		return f
	}
	if len(t.seen) >= maxAddresses {
		t.evictLocked()
	}
	f := &failures{left: failuresBurst, at: t.now()}
	t.seen[from] = f
	return f
}

// evictLocked makes room: addresses without recent failures go, and if that is none, any one.
func (t *throttle) evictLocked() {
	for k, f := range t.seen {
		t.refillLocked(f)
		if f.left >= failuresBurst {
			delete(t.seen, k)
		}
	}
	for k := range t.seen {
		if len(t.seen) < maxAddresses {
			return
		}
		delete(t.seen, k)
	}
}
