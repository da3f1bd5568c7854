//go:build linux

package uring

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a ring. Where the kernel has none, Probe and Open must agree on that, and nothing else can be tested:
// what then runs is the plain path, which the gateway's tests cover.
func open(t *testing.T, n int) *Ring {
	t.Helper()
	probed := Probe()
	r, err := Open(n)
	if (probed == nil) != (err == nil) {
		t.Fatalf("Probe: %v, Open: %v", probed, err)
	}
	if err != nil {
		if !errors.Is(err, ErrUnsupported) || !errors.Is(probed, ErrUnsupported) {
			t.Fatalf("not told as unsupported: %v, %v", probed, err)
		}
		return nil
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func pair(t *testing.T) (ours, theirs int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(p[0])
		_ = unix.Close(p[1])
	})
	return p[0], p[1]
}

// drain reads all there is.
func drain(t *testing.T, fd int) []byte {
	t.Helper()
	var out []byte
	b := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			return out
		}
		out = append(out, b[:n]...)
	}
}

// fill sends until the socket takes nothing more.
func fill(t *testing.T, fd int) {
	t.Helper()
	b := make([]byte, 4<<10)
	for {
		if err := unix.Sendto(fd, b, unix.MSG_DONTWAIT, nil); err == unix.EAGAIN {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSendGivesEachItsPart(t *testing.T) {
	r := open(t, 16)
	if r == nil {
		return
	}
	var sends []Send
	var ends []int
	b := []byte("0123456789abcdef")
	for i := range r.Cap() {
		ours, theirs := pair(t)
		sends, ends = append(sends, Send{FD: ours, Begin: i % 8, End: len(b) - i%3}), append(ends, theirs)
	}
	for range 300 { // the queues turn over
		if err := r.Send(b, sends); err != nil {
			t.Fatal(err)
		}
		for i, s := range sends {
			want := b[s.Begin:s.End]
			if got := drain(t, ends[i]); !bytes.Equal(got, want) || s.N != len(want) || s.Errno != 0 {
				t.Fatalf("send %d: received %q, want %q; result %d, %v", i, got, want, s.N, s.Errno)
			}
		}
	}
}

// One socket that takes nothing, one whose peer is gone and one that is closed do not keep the others from theirs,
// and every result is told as write(2) would tell it.
func TestSendTellsEachResult(t *testing.T) {
	r := open(t, 8)
	if r == nil {
		return
	}
	full, _ := pair(t)
	fill(t, full)
	broken, peer := pair(t)
	_ = unix.Close(peer)
	good, reader := pair(t)
	file, err := unix.MemfdCreate("no socket", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	gone, err := unix.Dup(broken) // the last one, so that its number is not given again
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(gone)
	sends := []Send{{FD: full, End: 4}, {FD: broken, End: 4}, {FD: gone, End: 4}, {FD: file, End: 4}, {FD: good, End: 4}, {FD: -1, End: 4}}
	if err := r.Send([]byte("text"), sends); err != nil {
		t.Fatal(err)
	}
	for i, want := range []syscall.Errno{unix.EAGAIN, unix.EPIPE, unix.EBADF, unix.ENOTSOCK, 0, unix.EBADF} {
		if sends[i].Errno != want {
			t.Errorf("send %d: %v, want %v", i, sends[i].Errno, want)
		}
	}
	if got := drain(t, reader); string(got) != "text" {
		t.Errorf("the good one received %q", got)
	}
}

func TestSendTakesAPart(t *testing.T) {
	r := open(t, 1)
	if r == nil {
		return
	}
	ours, theirs := pair(t)
	b := make([]byte, 4<<20)
	for i := range b {
		b[i] = byte(i >> 8)
	}
	one := []Send{{FD: ours, End: len(b)}}
	if err := r.Send(b, one); err != nil {
		t.Fatal(err)
	}
	if one[0].N <= 0 || one[0].N >= len(b) || one[0].Errno != 0 {
		t.Fatalf("result %d of %d, %v; want a part", one[0].N, len(b), one[0].Errno)
	}
	if got := drain(t, theirs); !bytes.Equal(got, b[:one[0].N]) {
		t.Errorf("received %d bytes, %d were taken", len(got), one[0].N)
	}
}

// Batches of any size to sockets in any state: what is received is what the results say.
func TestSendAgainstWhatIsReceived(t *testing.T) {
	r := open(t, 32)
	if r == nil {
		return
	}
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 24<<10)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	var ours, theirs []int
	for range 40 {
		o, th := pair(t)
		ours, theirs = append(ours, o), append(theirs, th)
	}
	sent := make([][]byte, len(ours))
	received := make([][]byte, len(ours))
	for range 300 {
		to := random.Perm(len(ours))[:1+random.IntN(r.Cap())]
		sends := make([]Send, len(to))
		for i, n := range to {
			begin := random.IntN(len(b))
			sends[i] = Send{FD: ours[n], Begin: begin, End: begin + 1 + random.IntN(len(b)-begin)}
		}
		if err := r.Send(b, sends); err != nil {
			t.Fatal(err)
		}
		for i, n := range to {
			switch s := sends[i]; s.Errno {
			case 0:
				sent[n] = append(sent[n], b[s.Begin:s.Begin+s.N]...)
			case unix.EAGAIN:
			default:
				t.Fatal(s.Errno)
			}
		}
		for range 8 {
			n := random.IntN(len(ours))
			received[n] = append(received[n], drain(t, theirs[n])...)
			if !bytes.HasPrefix(sent[n], received[n]) {
				t.Fatalf("socket %d: received other bytes than were sent", n)
			}
			sent[n] = slices.Clone(sent[n][len(received[n]):])
			received[n] = nil
		}
	}
	for n := range ours {
		if got := drain(t, theirs[n]); !bytes.Equal(got, sent[n]) {
			t.Errorf("socket %d: %d bytes are left, want %d", n, len(got), len(sent[n]))
		}
	}
}

// A ring the kernel does not know any more: nothing is sent, and that is told.
func TestSendWithoutTheKernel(t *testing.T) {
	r := open(t, 4)
	if r == nil {
		return
	}
	fd := r.fd
	defer func() { r.fd = fd }()
	r.fd = 1 << 20
	ours, theirs := pair(t)
	sends := []Send{{FD: ours, End: 2}, {FD: ours, End: 2}}
	if err := r.Send([]byte("no"), sends); err == nil {
		t.Error("no error")
	}
	for i, s := range sends {
		if s.Errno != ErrNotSent || s.N != 0 {
			t.Errorf("send %d: %d, %v", i, s.N, s.Errno)
		}
	}
	if got := drain(t, theirs); len(got) != 0 {
		t.Errorf("received %q", got)
	}
}

func TestBounds(t *testing.T) {
	for _, n := range []int{-1, 0, 1 << 20} {
		if r, err := Open(n); err == nil {
			_ = r.Close()
			t.Errorf("a ring of %d entries", n)
		}
	}
	r := open(t, 4)
	if r == nil {
		return
	}
	if err := r.Send([]byte("x"), make([]Send, r.Cap()+1)); err == nil {
		t.Error("more sends than the ring has room for")
	}
	if err := r.Send(nil, nil); err != nil {
		t.Error(err)
	}
	_, _ = r.Close(), r.Close()
}

func TestSendAllocatesNothing(t *testing.T) {
	r := open(t, 64)
	if r == nil {
		return
	}
	b := []byte("text")
	var sends []Send
	for range 64 {
		ours, theirs := pair(t)
		_ = theirs
		sends = append(sends, Send{FD: ours, End: 4})
	}
	if got := testing.AllocsPerRun(50, func() {
		if err := r.Send(b, sends); err != nil {
			t.Error(err)
		}
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkSend(b *testing.B) {
	for name, viaRing := range map[string]bool{"ring": true, "sendto": false} {
		b.Run(name, func(b *testing.B) {
			r, err := Open(256)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			null, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer unix.Close(null[0])
			defer unix.Close(null[1])
			text := make([]byte, 355)
			sends := make([]Send, 256)
			for i := range sends {
				sends[i] = Send{FD: null[0], End: len(text)}
			}
			for b.Loop() {
				if viaRing {
					_ = r.Send(text, sends)
					continue
				}
				for range sends {
					_ = unix.Sendto(null[0], text, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
				}
			}
		})
	}
}
