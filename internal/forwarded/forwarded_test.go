package forwarded

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestClient(t *testing.T) {
	proxies := []string{"10.0.0.0/8", "fd00::/8", "192.0.2.7"}
	for name, c := range map[string]struct {
		trusted []string
		remote  string
		lines   []string
		want    string
	}{
		"nobody is trusted":            {nil, "10.0.0.1:5", []string{"203.0.113.9"}, "10.0.0.1:5"},
		"peer is not a proxy":          {proxies, "203.0.113.1:5", []string{"198.51.100.1"}, "203.0.113.1:5"},
		"proxy names nobody":           {proxies, "10.0.0.1:5", nil, "10.0.0.1:5"},
		"one hop":                      {proxies, "10.0.0.1:5", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"with a port":                  {proxies, "10.0.0.1:5", []string{"203.0.113.9:4711"}, "203.0.113.9:0"},
		"claimed by the client":        {proxies, "10.0.0.1:5", []string{"198.51.100.66, 203.0.113.9"}, "203.0.113.9:0"},
		"two proxies":                  {proxies, "10.0.0.1:5", []string{"198.51.100.66, 203.0.113.9, 10.3.3.3"}, "203.0.113.9:0"},
		"two lines":                    {proxies, "10.0.0.1:5", []string{"198.51.100.66", "203.0.113.9, 10.3.3.3"}, "203.0.113.9:0"},
		"only proxies":                 {proxies, "10.0.0.1:5", []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1:0"},
		"nonsense at the end":          {proxies, "10.0.0.1:5", []string{"203.0.113.9, unknown"}, "10.0.0.1:5"},
		"nonsense before a proxy":      {proxies, "10.0.0.1:5", []string{"unknown, 10.3.3.3"}, "10.3.3.3:0"},
		"IPv6":                         {proxies, "[fd00::1]:5", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		"IPv6 in brackets with a port": {proxies, "[fd00::1]:5", []string{"[2001:db8::1]:99"}, "[2001:db8::1]:0"},
		"IPv4 in IPv6":                 {proxies, "[::ffff:10.0.0.1]:5", []string{"::ffff:203.0.113.9"}, "203.0.113.9:0"},
		"single address":               {proxies, "192.0.2.7:5", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"its neighbour":                {proxies, "192.0.2.8:5", []string{"203.0.113.9"}, "192.0.2.8:5"},
		"too many hops": {proxies, "10.0.0.1:5", []string{"203.0.113.9,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2," +
			"10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2"}, "10.0.0.2:0"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(c.trusted)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Client(c.remote, http.Header{"X-Forwarded-For": c.lines}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "proxy.example", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", "10.0.0.0/8/8"} {
		if _, err := Parse([]string{text}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// FuzzClient: whatever the header holds, the answer is the peer or an address of the header, and can be read.
func FuzzClient(f *testing.F) {
	f.Add("203.0.113.9, 10.0.0.2")
	f.Add("[2001:db8::1]:99,,")
	f.Add(" , unknown")
	p, err := Parse([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := p.Client("10.0.0.1:5", http.Header{"X-Forwarded-For": {line}})
		if _, err := netip.ParseAddrPort(got); err != nil {
			t.Errorf("%q gives %q: %v", line, got, err)
		}
	})
}
