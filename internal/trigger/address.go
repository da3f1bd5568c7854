package trigger

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errAddress is the refusal of an address that is not on the public internet.
var errAddress = errors.New("address is not public")

// guard is a net.Dialer's ControlContext: it sees the address a name was resolved to, each one tried, right
// before the connection is made, so that no second resolution can bring another one.
func guard(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !public(ap.Addr()) {
		return fmt.Errorf("dial: %w", errAddress)
	}
	return nil
}

// public tells whether an address belongs to the public internet. For IPv4 what is special is listed (IANA's
// registry); for IPv6 only global unicast is taken, without the special blocks in it, and what embeds an IPv4
// address is judged by that.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.IsValid() && !within(a, special4())
	}
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(a) {
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[12:16])))
	}
	return netip.MustParsePrefix("2000::/3").Contains(a) && !within(a, special6())
}

func within(a netip.Addr, prefixes []string) bool {
	for _, p := range prefixes {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}

func special4() []string {
	return []string{
		"0.0.0.0/8",        // this host
		"10.0.0.0/8",       // private
		"100.64.0.0/10",    // carrier-grade NAT; also Alibaba's metadata
		"127.0.0.0/8",      // loopback
		"168.63.129.16/32", // Azure's host services, on a public address
		"169.254.0.0/16",   // link-local; most clouds' metadata
		"172.16.0.0/12",    // private
		"192.0.0.0/24",     // protocol assignments; Oracle's metadata
		"192.0.2.0/24",     // documentation
		"192.88.99.0/24",   // 6to4 relays
		"192.168.0.0/16",   // private
		"198.18.0.0/15",    // benchmarks
		"198.51.100.0/24",  // documentation
		"203.0.113.0/24",   // documentation
		"224.0.0.0/3",      // multicast, reserved, broadcast
	}
}

func special6() []string {
	return []string{
		"2001::/23",     // protocol assignments, Teredo among them
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4: embeds IPv4
		"3fff::/20",     // documentation
	}
}
