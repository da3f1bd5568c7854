package gateway

import (
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What an idle socket that has joined a channel costs the server. The sockets at the other end are bare descriptors, so
// that all the memory is the server's. A stack of 4 KiB instead of 2 means that a frame was added to the way on which
// readers wait (Session.read).
func TestMemoryOfASocket(t *testing.T) {
	const sockets = 600
	o := testOptions()
	s := serve(t, o, open("room", 0))
	for range 8 { // workers and pools are there before it counts
		bareSocket(t, s.addr)
	}
	// Go begins new goroutines with a stack for what those that there are use on average; in a gateway most wait with
	// little of it used.
	done := make(chan struct{})
	defer close(done)
	for range 200 {
		go func() { <-done }()
	}
	before := collected()
	for range sockets {
		bareSocket(t, s.addr)
	}
	after := collected()
	heap := float64(after.HeapAlloc-before.HeapAlloc) / sockets
	stack := float64(after.StackInuse-before.StackInuse) / sockets
	t.Logf("%.0f bytes of heap, %.0f of stack", heap, stack)
	if heap > 3300 {
		t.Errorf("%.0f bytes of heap for a socket", heap)
	}
	if stack > stackOfReader {
		t.Errorf("%.0f bytes of stack for a socket, want at most %d", stack, stackOfReader)
	}
}

func collected() runtime.MemStats {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// bareSocket connects, upgrades and joins.
func bareSocket(t *testing.T, addr string) {
	t.Helper()
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4<<10)
	ask(t, fd, buf, upgradeHead+"\r\n", "101 ")
	ask(t, fd, buf, string(masked(opText, joinFrame("room"))), `"action":"join"`)
}

func ask(t *testing.T, fd int, buf []byte, request, answer string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(request)); err != nil {
		t.Fatal(err)
	}
	n, err := unix.Read(fd, buf)
	if err != nil || !strings.Contains(string(buf[:max(n, 0)]), answer) {
		t.Fatalf("answer %q (%v), want %q", buf[:max(n, 0)], err, answer)
	}
}
