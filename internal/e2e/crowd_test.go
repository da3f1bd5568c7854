package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowdSpec is what a process full of clients does. They are like stock ones: after a loss they come back after exactly
// a second, then two, four and so on while they are not let in, without any jitter.
type crowdSpec struct {
	Addrs    []string // gateways, as a load balancer would choose them: in turn
	Channel  string   // with Channels a prefix
	Channels int      // client i is in Channel-(i mod Channels); 0 = all in Channel
	First, N int      // which clients
	Pace     int      // of new clients in the beginning, a second
	Options  string   // payload of their joins
	Users    bool     // each signed in as its own user
}

// crowdState is what such a process has seen so far.
type crowdState struct {
	Joined  int         // now
	Opened  int         // connections so far
	Closes  map[int]int // by close code; -1 = cut
	Refused map[int]int // upgrades, by HTTP status; -1 = no answer
	Late    []int64     // milliseconds from a loss to the next join, since the last state
}

const crowdEnv = "FANFARE_E2E_CROWD"

// TestCrowd is the process, when a test starts it as one.
func TestCrowd(t *testing.T) {
	text := os.Getenv(crowdEnv)
	if text == "" {
		return
	}
	var spec crowdSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	c := &crowd{spec: spec, addrs: spec.Addrs}
	c.state.Closes, c.state.Refused = map[int]int{}, map[int]int{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { // a line is the new list of gateways; the end of input is the end
		defer stop()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			c.mu.Lock()
			c.addrs = strings.Fields(lines.Text())
			c.mu.Unlock()
		}
	})
	group.Go(func() { c.tell(ctx) })
	tick := time.NewTicker(time.Second / time.Duration(max(spec.Pace, 1)))
	defer tick.Stop()
	for i := range spec.N {
		group.Go(func() { c.client(ctx, spec.First+i) })
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	group.Wait()
}

// crowd is the inside of the process.
type crowd struct {
	spec crowdSpec

	mu    sync.Mutex // guards what follows
	addrs []string
	state crowdState
}

func (c *crowd) note(f func(s *crowdState)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.state)
}

// tell prints the state five times a second.
func (c *crowd) tell(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		text, err := json.Marshal(c.state)
		c.state.Late = nil
		c.mu.Unlock()
		if err == nil {
			fmt.Fprintf(os.Stdout, "crowd %s\n", text)
		}
	}
}

func (c *crowd) client(ctx context.Context, i int) {
	lost := time.Time{}
	wait := time.Second
	for turn := i; ctx.Err() == nil; turn++ {
		c.mu.Lock()
		addr := c.addrs[turn%len(c.addrs)]
		c.mu.Unlock()
		conn, r, status, err := c.open(ctx, addr, i)
		if err != nil {
			c.note(func(s *crowdState) { s.Refused[status]++ })
		} else {
			wait = time.Second
			code := c.stay(ctx, conn, r, i, lost)
			lost = time.Now()
			if ctx.Err() == nil {
				c.note(func(s *crowdState) { s.Closes[code]++ })
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		if err != nil {
			wait = min(2*wait, time.Minute)
		}
	}
}

// open connects; status is that of the answer, -1 without one.
func (c *crowd) open(ctx context.Context, addr string, i int) (net.Conn, *bufio.Reader, int, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, -1, err
	}
	r := bufio.NewReaderSize(conn, 1024)
	status, err := c.upgrade(conn, r, i)
	if err != nil {
		_ = conn.Close()
		return nil, nil, status, err
	}
	return conn, r, status, nil
}

func (c *crowd) upgrade(conn net.Conn, r *bufio.Reader, i int) (status int, err error) {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	protocol := ""
	if c.spec.Users {
		protocol = "Sec-WebSocket-Protocol: " + token(7, 1000+i) + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "GET /rt/%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", hash, conn.RemoteAddr(), protocol); err != nil {
		return -1, err
	}
	for {
		line, err := r.ReadString('\n')
		words := strings.Fields(line)
		switch {
		case err != nil:
			return -1, err
		case status == 0 && len(words) > 1:
			status, _ = strconv.Atoi(words[1])
		case len(words) == 0 && status == 101:
			return status, nil
		case len(words) == 0:
			return status, fmt.Errorf("upgrade: %d", status)
		}
	}
}

// send writes one masked frame; the mask is zero.
func send(conn net.Conn, op byte, payload []byte) error {
	b := []byte{0x80 | op, 0x80 | byte(len(payload)), 0, 0, 0, 0}
	if len(payload) > 125 {
		b = binary.BigEndian.AppendUint16([]byte{0x80 | op, 0x80 | 126}, uint16(len(payload)))
		b = append(b, 0, 0, 0, 0)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err := conn.Write(append(b, payload...))
	return err
}

// stay is the life of one connection; the result is how it closed.
func (c *crowd) stay(ctx context.Context, conn net.Conn, r *bufio.Reader, i int, lost time.Time) (code int) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Time{})
	c.note(func(s *crowdState) { s.Opened++ })
	channel := c.spec.Channel
	if n := c.spec.Channels; n > 0 {
		channel += "-" + strconv.Itoa(i%n)
	}
	if send(conn, 1, []byte(`{"action":"join","options":{"channel":"`+channel+`"},"payload":`+c.spec.Options+`}`)) != nil {
		return -1
	}
	joined := false
	defer func() {
		if joined {
			c.note(func(s *crowdState) { s.Joined-- })
		}
	}()
	for {
		op, payload, err := frameOf(r)
		switch {
		case err != nil:
			return -1
		case op == 8 && len(payload) >= 2:
			return int(binary.BigEndian.Uint16(payload))
		case op == 8:
			return 1005
		case op == 9:
			if send(conn, 10, payload) != nil {
				return -1
			}
		case !joined && bytes.HasPrefix(payload, []byte(`{"action":"join"`)):
			joined = true
			c.note(func(s *crowdState) {
				s.Joined++
				if !lost.IsZero() {
					s.Late = append(s.Late, time.Since(lost).Milliseconds())
				}
			})
		}
	}
}

// frameOf reads a frame of the server. Of long ones only the beginning is kept.
func frameOf(r *bufio.Reader) (op byte, payload []byte, err error) {
	var head, length [8]byte
	if _, err = io.ReadFull(r, head[:2]); err != nil {
		return 0, nil, err
	}
	op = head[0] & 15
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		_, err = io.ReadFull(r, length[6:])
		n = binary.BigEndian.Uint64(length[:])
	case 127:
		_, err = io.ReadFull(r, length[:])
		n = binary.BigEndian.Uint64(length[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, min(n, 512))
	if _, err = io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	_, err = io.CopyN(io.Discard, r, int64(n)-int64(len(payload)))
	return op, payload, err
}

// crowds are the processes as the test sees them.
type crowds struct {
	t     *testing.T
	procs []*crowdProc
}

type crowdProc struct {
	in   io.WriteCloser
	cmd  *exec.Cmd
	mu   sync.Mutex // guards what follows
	over bool       // it was told to end
	last crowdState
	late []int64
}

// perProcess is how many clients one process has at most: descriptors are bounded.
const perProcess = 5000

// crowd starts clients in processes of their own.
func (c *cluster) crowd(t *testing.T, spec crowdSpec) *crowds {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := &crowds{t: t}
	processes := (spec.N + perProcess - 1) / perProcess
	total, pace := spec.N, spec.Pace
	for i := range processes {
		spec.First, spec.N, spec.Pace = i*perProcess, min(perProcess, total-i*perProcess), max(pace/processes, 1)
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		p := &crowdProc{cmd: exec.Command(self, "-test.run=^TestCrowd$", "-test.timeout=1h")} // it ends with its input
		p.cmd.Env = append(os.Environ(), crowdEnv+"="+string(text))
		p.cmd.Stderr = os.Stderr
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all.procs = append(all.procs, p)
		var group sync.WaitGroup
		group.Go(func() {
			p.follow(out)
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.over {
				t.Error("a process of clients has ended by itself")
			}
		})
		t.Cleanup(func() {
			p.end()
			group.Wait()
			_ = p.cmd.Wait()
		})
	}
	return all
}

func (p *crowdProc) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		text, ours := strings.CutPrefix(lines.Text(), "crowd ")
		var s crowdState
		if !ours || json.Unmarshal([]byte(text), &s) != nil {
			continue
		}
		p.mu.Lock()
		p.late = append(p.late, s.Late...)
		p.last = s
		p.mu.Unlock()
	}
}

// go to these gateways from now on.
func (c *crowds) to(addrs ...string) {
	for _, p := range c.procs {
		_, _ = fmt.Fprintln(p.in, strings.Join(addrs, " "))
	}
}

// end sends them all away.
func (c *crowds) end() {
	for _, p := range c.procs {
		p.end()
	}
}

func (p *crowdProc) end() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	_ = p.in.Close()
}

// state of all together. forget empties Late.
func (c *crowds) state() (s crowdState) {
	s.Closes, s.Refused = map[int]int{}, map[int]int{}
	for _, p := range c.procs {
		p.mu.Lock()
		s.Joined, s.Opened = s.Joined+p.last.Joined, s.Opened+p.last.Opened
		for code, n := range p.last.Closes {
			s.Closes[code] += n
		}
		for code, n := range p.last.Refused {
			s.Refused[code] += n
		}
		s.Late = append(s.Late, p.late...)
		p.mu.Unlock()
	}
	return s
}

func (c *crowds) forget() {
	for _, p := range c.procs {
		p.mu.Lock()
		p.late = nil
		p.mu.Unlock()
	}
}

func total(m map[int]int) (sum int) {
	for _, n := range m {
		sum += n
	}
	return sum
}

// joined waits until so many are in.
func (c *crowds) joined(ctx context.Context, n int, within time.Duration) error {
	return await(ctx, within, func() error {
		joined := 0
		for _, p := range c.procs {
			p.mu.Lock()
			joined += p.last.Joined
			p.mu.Unlock()
		}
		if joined != n {
			return fmt.Errorf("%d of the crowd have joined, want %d", joined, n)
		}
		return nil
	})
}

// quantile of numbers; 0 without any.
func quantile(numbers []int64, q float64) int64 {
	if len(numbers) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(numbers))
	return sorted[min(int(float64(len(sorted))*q), len(sorted)-1)]
}

func counts(m map[int]int) string {
	var words []string
	for _, code := range slices.Sorted(maps.Keys(m)) {
		words = append(words, fmt.Sprintf("%d of %d", m[code], code))
	}
	return strings.Join(words, ", ")
}
