package trigger_test

import (
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"fanfare/internal/trigger"
)

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true,
		"100.128.0.1": true, "192.1.0.1": true, "223.255.255.255": true, "168.63.129.17": true,
		"2606:4700:4700::1111": true, "2a00:1450::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,

		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "100.100.100.200": false, "168.63.129.16": false,
		"192.0.0.192": false, "192.0.2.1": false, "198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false,
		"fec0::1": false, "ff02::1": false, "100::1": false, "2001:db8::1": false, "2001::1": false, "3fff::1": false,
		"2002:7f00:1::": false, "2002:808:808::": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::127.0.0.1": false, "::8.8.8.8": false,
	} {
		if got := trigger.Public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	if trigger.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func TestPrivateAddressesAreNotDialled(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) { called.Add(1) })
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	for _, host := range []string{
		"127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]",
		"127.1.2.3", "169.254.169.254", "10.1.2.3", "192.168.0.1", "100.100.100.200", "[fd00:ec2::254]", "[64:ff9b::7f00:1]",
	} {
		f := newCaller(t, trigger.Options{})
		if _, v, err := ask(t, f, trigger.Join, hook("http://"+host+port+"/")); v != trigger.Failed {
			t.Errorf("%s: got %v %v", host, v, err)
		}
		if f.counter(t, "join", "address") != 1 {
			t.Errorf("%s: not refused for its address: %s", host, f.logs)
		}
	}
	if called.Load() != 0 {
		t.Error("an endpoint was reached")
	}
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	if _, v, err := ask(t, f, trigger.Join, hook("http://localhost"+port+"/")); v != trigger.Passed || called.Load() != 1 {
		t.Errorf("allow_private: got %v %v", v, err)
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	var called atomic.Int32
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { called.Add(1) })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	f := newCaller(t, trigger.Options{AllowPrivate: true})
	if _, v, _ := ask(t, f, trigger.Join, hook("http://webhook.invalid/")); v != trigger.Failed || called.Load() != 0 {
		t.Errorf("got %v, proxy called %d times", v, called.Load())
	}
}
