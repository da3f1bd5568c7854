package uring

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is a submission and a completion queue shared with the kernel. One goroutine at a time may use it.
type Ring struct {
	fd int

	sqTail           *uint32
	sqMask           uint32
	cqHead, cqTail   *uint32
	cqMask           uint32
	sqes             []sqe
	cqes             []cqe
	sqMem, cqMem, em []byte

	pin runtime.Pinner
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
		_                                                           uint64
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
		_                                                           uint64
	}
}

// sqe is struct io_uring_sqe as a send uses it.
type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off           uint64
	addr          uint64
	len           uint32
	msgFlags      uint32
	userData      uint64
	_             [3]uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// From linux/io_uring.h.
const (
	opSend         = 26
	enterGetEvents = 1 << 0
	setupClamp     = 1 << 4
	setupSubmitAll = 1 << 7 // Linux 5.18
	offSQRing      = 0
	offCQRing      = 0x8000000
	offSQEs        = 0x10000000
)

// shortBatch is up to how many sends Go's scheduler is not told of the system call, which costs more than it saves
// for calls of some ten microseconds.
const shortBatch = 32

// Open makes a ring for batches of up to n sends. Close frees it.
func Open(n int) (*Ring, error) {
	if n < 1 || n > 4096 {
		return nil, fmt.Errorf("io_uring: %d entries, want 1 to 4096", n)
	}
	var p params
	fd, err := setup(uint32(n), &p, setupClamp|setupSubmitAll)
	if errors.Is(err, syscall.EINVAL) {
		p = params{}
		fd, err = setup(uint32(n), &p, setupClamp)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: io_uring_setup: %w", ErrUnsupported, err)
	}
	r := &Ring{fd: fd}
	if err := r.mapQueues(&p); err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("%w: mapping the queues: %w", ErrUnsupported, err)
	}
	return r, nil
}

func setup(n uint32, p *params, flags uint32) (int, error) {
	p.flags = flags
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(n), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func (r *Ring) mapQueues(p *params) (err error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.sqMem, err = unix.Mmap(r.fd, offSQRing, int(p.sq.array+p.sqEntries*4), prot, flags); err != nil {
		return err
	}
	if r.cqMem, err = unix.Mmap(r.fd, offCQRing, int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(cqe{})), prot, flags); err != nil {
		return err
	}
	if r.em, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), prot, flags); err != nil {
		return err
	}
	word := func(mem []byte, off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&mem[off])) }
	r.sqTail, r.sqMask = word(r.sqMem, p.sq.tail), *word(r.sqMem, p.sq.ringMask)
	r.cqHead, r.cqTail, r.cqMask = word(r.cqMem, p.cq.head), word(r.cqMem, p.cq.tail), *word(r.cqMem, p.cq.ringMask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.em[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.cqMem[p.cq.cqes])), p.cqEntries)
	// The array between queue and entries is not needed: entry i stands at place i for good.
	array := unsafe.Slice(word(r.sqMem, p.sq.array), p.sqEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return nil
}

// Cap is how many sends a batch may have.
func (r *Ring) Cap() int { return len(r.sqes) }

// Send tries every send once and fills in its result. It returns when all have been tried; an error means that some
// were not (ErrNotSent), and that the ring must not be used again.
func (r *Ring) Send(b []byte, sends []Send) error {
	if len(sends) == 0 || len(b) == 0 {
		return nil
	}
	if len(sends) > len(r.sqes) {
		return fmt.Errorf("io_uring: %d sends, the ring has room for %d", len(sends), len(r.sqes))
	}
	base := unsafe.SliceData(b)
	r.pin.Pin(base)
	defer r.pin.Unpin()
	start := *r.sqTail // only we write it
	for i := range sends {
		s := &sends[i]
		part := b[s.Begin:s.End]
		s.N, s.Errno = 0, ErrNotSent
		r.sqes[(start+uint32(i))&r.sqMask] = sqe{
			opcode: opSend, fd: int32(s.FD), addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(part)))),
			len: uint32(len(part)), msgFlags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, userData: uint64(i),
		}
	}
	end := start + uint32(len(sends))
	atomic.StoreUint32(r.sqTail, end)
	toSubmit, open := len(sends), len(sends)
	var failed error
	for stuck := 0; open > 0; {
		took, errno := r.enter(toSubmit, open, len(sends) <= shortBatch)
		toSubmit -= took
		done := r.reap(sends)
		open -= done
		if took+done > 0 {
			stuck = 0
			continue
		}
		if stuck++; errno == syscall.EINTR && stuck < 1000 || errno == 0 && stuck < 8 {
			continue
		}
		if failed != nil {
			return failed // what was handed over never completes: the kernel is broken
		}
		failed = fmt.Errorf("io_uring_enter: %w", errno)
		// Take back what was not handed over; the rest completes.
		atomic.StoreUint32(r.sqTail, end-uint32(toSubmit))
		open -= toSubmit
		toSubmit, stuck = 0, 0
	}
	return failed
}

// enter hands over n sends and waits for as many results as are open; there is nothing to wait for, since none of
// them waits.
func (r *Ring) enter(n, open int, short bool) (int, syscall.Errno) {
	call := unix.Syscall6
	if short {
		call = unix.RawSyscall6
	}
	took, _, errno := call(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), uintptr(open), enterGetEvents, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(took), 0
}

// reap takes the results that are there.
func (r *Ring) reap(sends []Send) (n int) {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	for ; head != tail; head++ {
		c := &r.cqes[head&r.cqMask]
		s := &sends[c.userData]
		if c.res >= 0 {
			s.N, s.Errno = int(c.res), 0
		} else {
			s.Errno = syscall.Errno(-c.res)
		}
		n++
	}
	atomic.StoreUint32(r.cqHead, head)
	return n
}

// Close frees the ring. It is idempotent.
func (r *Ring) Close() error {
	if r.fd < 0 {
		return nil
	}
	for _, mem := range [][]byte{r.sqMem, r.cqMem, r.em} {
		if mem != nil {
			_ = unix.Munmap(mem)
		}
	}
	err := unix.Close(r.fd)
	r.fd, r.sqes = -1, nil
	return err
}

// Probe tells whether the kernel does what this package needs: it sends over a pair of sockets, whole, partly and
// not at all.
func Probe() error {
	r, err := Open(8)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // a probe's
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("io_uring: pair of sockets: %w", err)
	}
	defer unix.Close(pair[0]) //nolint:errcheck // as above
	defer unix.Close(pair[1]) //nolint:errcheck // as above
	sends := []Send{{FD: pair[0], Begin: 0, End: 3}, {FD: pair[0], Begin: 3, End: 5}}
	if err := r.Send([]byte("hello"), sends); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	got := make([]byte, 8)
	n, err := unix.Read(pair[1], got)
	if err != nil || string(got[:n]) != "hello" || sends[0].N != 3 || sends[1].N != 2 {
		return fmt.Errorf("%w: sent \"hello\", received %q, results %+v", errors.Join(ErrUnsupported, err), got[:max(n, 0)], sends)
	}
	// A socket that takes nothing more: the send must not wait.
	full := make([]byte, 64<<10)
	for range 64 {
		one := []Send{{FD: pair[0], End: len(full)}}
		if err := r.Send(full, one); err != nil {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		if one[0].Errno == syscall.EAGAIN {
			return nil
		}
		if one[0].Errno != 0 {
			return fmt.Errorf("%w: send: %w", ErrUnsupported, one[0].Errno)
		}
	}
	return fmt.Errorf("%w: a socket nobody reads takes everything", ErrUnsupported)
}
