package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/protocol"
)

// conn is one socket. Its fields in the second group belong to its reader.
type conn struct {
	run *run
	id  int
	nc  net.Conn
	// handle is given every frame but those of the connection itself.
	handle func(c *conn, k kind, frame []byte, at time.Duration)
	shard  *shard
	ended  chan struct{} // closed when the reader has ended; what follows may be read then
	err    error         // why, when it was not us

	lanes   []lane
	rest    []byte // the beginning of a frame
	partial []byte // the beginning of a message in several frames

	writing sync.Mutex
	out     []byte

	pending atomic.Int32 // joins not answered yet
	joined  chan error   // one slot: the answer to all joins, or the first refusal
	// answer is what the server told of the channel and of us in the last answer to a join.
	answer struct {
		socket  string
		history bool
	}
}

// closedError is a close frame of the server.
type closedError struct {
	code   int
	reason string
}

func (e *closedError) Error() string {
	return fmt.Sprintf("the server closed the socket with %d %s", e.code, e.reason)
}

// read gives frames to handle until the connection ends.
func (c *conn) read(rest []byte) {
	defer close(c.ended)
	err := c.take(rest, c.run.now())
	if err == nil {
		err = c.readAll()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // hangUp
		_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.write(opClose, []byte{0x03, 0xe8})
	}
	_ = c.nc.Close()
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.err = err
		if errors.Is(err, io.EOF) {
			c.err = errors.New("the connection was cut")
		}
		c.run.lost(c)
	}
	select {
	case c.joined <- err:
	default:
	}
}

// readPlain reads where readiness cannot be waited for without a buffer.
func (c *conn) readPlain() error {
	buf := make([]byte, 4096)
	for {
		n, err := c.nc.Read(buf)
		if n > 0 {
			c.shard.reads.Add(1)
			if err := c.take(buf[:n], c.run.now()); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// take splits b, which follows what was taken before, into frames.
func (c *conn) take(b []byte, at time.Duration) error {
	kept := len(c.rest) > 0
	if kept {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	for {
		first, payload, n, err := splitFrame(b)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := c.frame(first, payload, at); err != nil {
			return err
		}
		b = b[n:]
	}
	switch {
	case len(b) == 0 && cap(c.rest) > 4096:
		c.rest = nil
	case kept:
		c.rest = c.rest[:copy(c.rest, b)]
	default:
		c.rest = append(c.rest[:0], b...)
	}
	return nil
}

func (c *conn) frame(first byte, payload []byte, at time.Duration) error {
	switch op := first & 0x0f; op {
	case opPing:
		return c.write(opPong, payload)
	case opPong:
		return nil
	case opClose:
		e := &closedError{code: 1005}
		if len(payload) >= 2 {
			e.code, e.reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		return e
	case opText, opContinuation:
		if first&0x80 == 0 || op == opContinuation {
			if len(c.partial)+len(payload) > maxFrame {
				return errHuge
			}
			c.partial = append(c.partial, payload...)
			if first&0x80 == 0 {
				return nil
			}
			payload = c.partial
			defer func() { c.partial = nil }()
		}
	default:
		return errFrame
	}
	k := kindOf(payload)
	switch k {
	case kindJoin:
		c.join(payload)
	case kindError:
		c.fail(payload)
	default:
	}
	c.handle(c, k, payload, at)
	return nil
}

// join takes the answer to a join.
func (c *conn) join(frame []byte) {
	c.answer.history = bytes.Contains(frame[:min(len(frame), 400)], []byte(`"epoch":"`))
	if _, after, ok := bytes.Cut(frame, []byte(`"client":{"socketId":"`)); ok {
		if name, _, ok := bytes.Cut(after, []byte{'"'}); ok {
			c.answer.socket = string(name)
		}
	}
	if c.pending.Add(-1) == 0 {
		select {
		case c.joined <- nil:
		default:
		}
	}
}

// readError reads an error frame.
func readError(frame []byte) *RuleError {
	var f struct {
		Options struct{ Channel string }
		Payload struct {
			Code    protocol.Code
			Message string
		}
	}
	if err := json.Unmarshal(frame, &f); err != nil {
		return &RuleError{code: "unreadable", message: "An error came that cannot be read."}
	}
	return &RuleError{f.Options.Channel, f.Payload.Code, f.Payload.Message}
}

func (c *conn) fail(frame []byte) {
	e := readError(frame)
	c.run.refused(string(e.code))
	if c.pending.Load() > 0 {
		select {
		case c.joined <- e:
		default:
		}
	}
}

// write sends one frame.
func (c *conn) write(op byte, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = appendFrame(c.out[:0], op, payload)
	_, err := c.nc.Write(c.out)
	if cap(c.out) > 4096 {
		c.out = nil
	}
	return err
}

// awaitJoins waits for the answer to the joins that were sent.
func (c *conn) awaitJoins(ctx context.Context) error {
	select {
	case err := <-c.joined:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer to the join: %w", ctx.Err())
	}
}
