package gateway

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/internal/uring"
	"fanfare/protocol"
)

// usesRings checks that writes took the way they should have: through a ring where the kernel has io_uring and it is
// not switched off.
func (s *server) usesRings(tb testing.TB) {
	tb.Helper()
	on := s.opts.IOURing && uring.Probe() == nil
	if got := testutil.ToFloat64(s.metrics.ioURing) == 1; got != on {
		tb.Errorf("io_uring in use: %v, want %v", got, on)
	}
	if got := testutil.ToFloat64(s.metrics.ringWrites); got > 0 != on {
		tb.Errorf("%v writes through a ring, io_uring in use: %v", got, on)
	}
}

// Readers at every pace get all frames in order and unbroken: those who keep up, those who stop reading until the
// kernel takes a part of a frame or nothing, and those whose own frames are answered meanwhile.
func TestWriteReachesEverybodyInOrder(t *testing.T) {
	for name, change := range map[string]func(*server){"ring": nil, "plain": withoutRings, "tls": withTLS(t)} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.BacklogBytes, o.Limits.FramesPerSecond, o.WriteTimeout = 64<<20, 0, time.Minute
			s := serveWith(t, o, change, open("room", 0))
			const readers, messages = 12, 100
			proceed := make(chan struct{})
			var reading sync.WaitGroup
			for i := range readers {
				r := s.socket(t)
				r.write(t, masked(opText, joinFrame("room")))
				r.frame(t)
				reading.Go(func() {
					if i%3 == 1 {
						<-proceed
					}
					for n := 0; n < messages; {
						if i%3 == 2 && n%50 == 0 {
							_, _ = r.Write(masked(opPing, fmt.Sprint(n)))
						}
						opcode, text, err := r.next()
						switch {
						case err != nil:
							t.Errorf("reader %d: %v", i, err)
							return
						case opcode == opPong:
						case opcode != opText || !strings.Contains(text, fmt.Sprintf(`"id":"%d.`, n)):
							t.Errorf("reader %d: opcode %d, %.80s; want message %d", i, opcode, text, n)
							return
						default:
							n++
						}
					}
				})
			}
			top, big := s.topic(t, "room"), strings.Repeat("x", 40<<10)
			for n := range messages {
				top.Deliver(event("room", fmt.Sprintf("%d.%s", n, big)))
			}
			top.flushed()
			close(proceed)
			reading.Wait()
			if name != "tls" {
				s.usesRings(t)
			}
		})
	}
}

const opPong = 0x8a

// Channels that share their members, in different orders, flush at the same time: none waits for another for ever,
// and each keeps its order.
func TestFlushesThatShareMembers(t *testing.T) {
	o := testOptions()
	o.FlushInterval, o.Limits.FramesPerSecond, o.BacklogBytes = 0, 0, 16<<20
	s := serveWith(t, o, nil, nested("room", 0))
	const readers, channels, messages = 80, 4, 200
	var reading sync.WaitGroup
	for i := range readers {
		r := s.socket(t)
		for c := range channels {
			r.write(t, masked(opText, joinFrame(fmt.Sprintf("room/%d", (c+i)%channels))))
			r.frame(t)
		}
		reading.Go(func() {
			var next [channels]int
			for range channels * messages {
				_, text, _ := r.next()
				var c, n int
				_, id, _ := strings.Cut(text, `"id":"`)
				if _, err := fmt.Sscanf(id, "%d.%d", &c, &n); err != nil || n != next[c] {
					t.Errorf("reader %d: %.80s; want message %d of channel %d", i, text, next[c], c)
					return
				}
				next[c]++
			}
		})
	}
	var sending sync.WaitGroup
	for c := range channels {
		channel := protocol.Channel(fmt.Sprintf("room/%d", c))
		top := s.topic(t, channel)
		sending.Go(func() {
			for n := range messages {
				top.Deliver(event(channel, fmt.Sprintf("%d.%d", c, n)))
			}
		})
	}
	sending.Wait()
	reading.Wait()
	s.usesRings(t)
}

// Sockets end and new ones get their descriptors while flushes run: nobody receives a byte of a channel it has not
// joined.
func TestDescriptorsAreNotMistaken(t *testing.T) {
	o := testOptions()
	o.FlushInterval, o.Limits.FramesPerSecond = 0, 0
	s := serveWith(t, o, nil, nested("room", 0))
	keep := s.socket(t)
	keep.write(t, masked(opText, joinFrame("room/loud")))
	keep.frame(t)
	go func() { _, _ = io.Copy(io.Discard, keep.br) }()
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		top := s.topic(t, "room/loud")
		for {
			select {
			case <-stop:
				return
			default:
				top.Deliver(event("room/loud", "loud"))
				top.flushed()
			}
		}
	})
	var churn sync.WaitGroup
	for range 4 {
		churn.Go(func() {
			for range 60 {
				for _, channel := range []string{"room/loud", "room/quiet"} {
					r := s.socket(t)
					_, _ = r.Write(masked(opText, joinFrame(channel)))
					if _, text, _ := r.next(); !strings.HasPrefix(text, `{"action":"join","options":{"channel":"`+channel+`"`) {
						t.Errorf("join of %s: %.100s", channel, text)
					}
					if channel == "room/quiet" {
						_, _ = r.Write(masked(opPing, "ping"))
						if opcode, text, _ := r.next(); opcode != opPong {
							t.Errorf("a member of the quiet channel received %.100s", text)
						}
					}
					_ = r.Close()
				}
			}
		})
	}
	churn.Wait()
	close(stop)
	work.Wait()
	_ = keep.Close()
	eventually(t, "all gone", func() bool { return len(s.Sessions(nil)) == 0 })
}

// A ring that fails in the middle: what it did not send goes the plain way, and no ring is used any more.
func TestRingThatFails(t *testing.T) {
	if uring.Probe() != nil {
		return // nothing that could fail
	}
	s := serveWith(t, testOptions(), nil, open("room", 0))
	var clients []*client
	for range 5 {
		c := s.dial(t, "")
		c.join("room", "null")
		clients = append(clients, c)
	}
	w := s.rings.take(1)
	_ = w.ring.Close()
	s.rings.give(w, false)
	for _, id := range []string{"first", "second"} {
		s.topic(t, "room").Deliver(event("room", id))
		for _, c := range clients {
			c.want(id, func(f *frame) bool { return f.Options.ID == id })
		}
	}
	if s.rings.on.Load() || testutil.ToFloat64(s.metrics.ioURing) != 0 {
		t.Error("rings are still in use")
	}
	s.rings.mu.Lock()
	defer s.rings.mu.Unlock()
	if s.rings.made != 0 || len(s.rings.free) != 0 {
		t.Errorf("%d rings are kept, %d free", s.rings.made, len(s.rings.free))
	}
}

// There are only so many rings, whoever finds none writes without one, and closing frees those that come back late.
func TestRingsAreBounded(t *testing.T) {
	if uring.Probe() != nil {
		return
	}
	r := &rings{least: 2}
	r.on.Store(true)
	if r.take(1) != nil {
		t.Error("a ring for one member")
	}
	var taken []*ringWriter
	for w := r.take(2); w != nil; w = r.take(2) {
		if taken = append(taken, w); len(taken) > 1<<10 {
			t.Fatal("no bound")
		}
	}
	r.give(taken[0], false)
	if r.take(2) != taken[0] {
		t.Error("a ring that is free is not used")
	}
	r.close()
	for _, w := range taken {
		r.give(w, false)
	}
	if r.made != 0 || len(r.free) != 0 || r.take(2) != nil {
		t.Errorf("%d rings after the end", r.made)
	}
}

func TestPassing(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{0: true, syscall.EAGAIN: true, syscall.EINTR: true, syscall.EPIPE: false, syscall.EBADF: false} {
		if err := passing(errno); (err == nil) != want || err != nil && !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// A write through rings allocates nothing for each member either.
func TestRingAllocatesNothingPerMember(t *testing.T) {
	s := serveWith(t, testOptions(), nil, open("room", 0))
	for range 100 {
		s.listener(t, "room")
	}
	top := s.topic(t, "room")
	top.flushed()
	p := event("room", "payload")
	got := testing.AllocsPerRun(100, func() {
		top.mu.Lock()
		top.appendLocked(p.Accepted, p)
		top.flushing = true
		top.mu.Unlock()
		top.flush(true)
	})
	if got > 20 {
		t.Errorf("%v allocations", got)
	}
	s.usesRings(t)
}
