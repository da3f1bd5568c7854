//go:build unix

package bench

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// readAll reads with a buffer that is the connection's only while bytes are there, once for each time the poller says
// so: a second read that finds nothing would be a third of what this process costs.
func (c *conn) readAll() error {
	socket, ok := c.nc.(syscall.Conn)
	if !ok {
		return c.readPlain() // TLS
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err //nolint:wrapcheck // the caller tells how it ended
	}
	var failed error
	once := func(fd uintptr) bool {
		buf := c.run.buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
		defer c.run.buffers.Put(buf)
		for {
			n, err := syscall.Read(int(fd), *buf)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EAGAIN):
				return false
			case err != nil:
				failed = os.NewSyscallError("read", err)
				return true
			case n == 0:
				failed = io.EOF
				return true
			}
			c.shard.reads.Add(1)
			if failed = c.take((*buf)[:n], c.run.now()); failed != nil {
				return true
			}
			if n < len(*buf) {
				return false
			}
		}
	}
	if err = raw.Read(once); failed != nil {
		return failed
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// An end that came together with bytes has not been seen yet.
		if e := raw.Control(func(fd uintptr) { once(fd) }); e == nil && failed != nil {
			return failed
		}
	}
	return err
}
