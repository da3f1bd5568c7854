// Package forwarded finds the address of a client behind proxies that the operator trusts.
//
// Limits per address (limits.sockets_per_address, wrong API keys) would count all users of a load balancer as one, and
// the header in which the load balancer names them can be written by anybody. So it is believed only when the peer is
// a proxy of the list, and read from its end: what a trusted proxy appended is true, what stood there before it is
// what somebody claimed.
package forwarded

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// header is the only one that is read; what RFC 7239 calls Forwarded is written by few proxies, and reading both lets
// a client choose.
const header = "X-Forwarded-For"

// maxHops bounds how many entries of the header are looked at.
const maxHops = 16

// Proxies are the addresses from which the header is believed. The zero value believes nobody.
type Proxies struct {
	trusted []netip.Prefix
}

// Parse reads addresses (`10.0.0.7`) and networks (`10.0.0.0/8`).
func Parse(texts []string) (Proxies, error) {
	var p Proxies
	for _, text := range texts {
		prefix, err := parsePrefix(text)
		if err != nil {
			return Proxies{}, err
		}
		p.trusted = append(p.trusted, prefix)
	}
	return p, nil
}

// Check tells what is wrong with one entry, or nil.
func Check(text string) error {
	_, err := parsePrefix(text)
	return err
}

func parsePrefix(text string) (netip.Prefix, error) {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8", text)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Client gives the address of whoever sent a request, in the form of http.Request.RemoteAddr: the peer (remote)
// itself when that is no trusted proxy or names nobody; else the nearest address named that is not a trusted proxy
// either, with port 0.
func (p Proxies) Client(remote string, h http.Header) string {
	if len(p.trusted) == 0 {
		return remote
	}
	peer, err := netip.ParseAddrPort(remote)
	if err != nil || !p.trusts(peer.Addr()) {
		return remote
	}
	found := remote
	values := h[header]
	hops := 0
	for _, value := range slices.Backward(values) { // several lines are one list
		for rest := value; rest != ""; {
			last := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			a, ok := parseHop(strings.TrimSpace(last))
			if hops++; !ok || hops > maxHops {
				return found
			}
			found = netip.AddrPortFrom(a, 0).String()
			if !p.trusts(a) {
				return found
			}
		}
	}
	return found
}

func (p Proxies) trusts(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, prefix := range p.trusted {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// parseHop reads an entry: an address, with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
