package freeport

import (
	"net"
	"testing"
)

// TestAddr: ports differ, can be listened on, and one that is taken is passed over.
func TestAddr(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		addr, err := Addr()
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] {
			t.Fatalf("%s was given twice", addr)
		}
		seen[addr] = true
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	ports.Lock()
	ports.given -= 100 // where somebody listens now
	ports.Unlock()
	if addr, err := Addr(); err != nil || seen[addr] {
		t.Fatalf("%s, where somebody listens: %v", addr, err)
	}
}
