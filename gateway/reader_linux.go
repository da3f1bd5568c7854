package gateway

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// rawReader reads a TCP connection for a session. It does what net.Conn.Read does with less stack, which is what
// decides whether a reader that waits fits into 2 KiB (Session.read), and tells Go's scheduler nothing of a system call
// that does not wait.
type rawReader struct {
	raw   syscall.RawConn
	try   func(fd uintptr) bool
	b     []byte
	n     int
	errno syscall.Errno
}

// newReader gives the reader of a session's frames.
func newReader(nc net.Conn) io.Reader {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nc
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nc
	}
	r := &rawReader{raw: raw}
	r.try = r.receive
	return r
}

func (r *rawReader) receive(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(r.b))), uintptr(len(r.b)),
			syscall.MSG_DONTWAIT, 0, 0)
		if errno != syscall.EINTR {
			r.n, r.errno = int(n), errno
			return errno != syscall.EAGAIN
		}
	}
}

func (r *rawReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	r.b = b
	err := r.raw.Read(r.try)
	r.b = nil
	switch {
	case err != nil:
		return 0, err
	case r.errno != 0:
		return 0, os.NewSyscallError("recvfrom", r.errno)
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
