package gateway

import (
	"iter"
	"runtime/debug"
	"sync"

	"github.com/lxzan/gws"
)

// workers process frames on behalf of the sockets' readers. A reader hands its frame to an idle worker and
// waits, so frames of a socket keep their order and a slow join holds up only its own socket; but the stack
// that decoding, permissions and fan-out need grows on the worker and is used again by the next socket,
// instead of staying with every idle connection.
//
// A worker is a coroutine (iter.Pull): handing over switches from one stack to the other and back, and wakes neither
// the scheduler nor another processor, as a channel would for every frame.
type workers struct {
	mu     sync.Mutex
	idle   []*worker
	busy   sync.WaitGroup
	closed bool
}

type worker struct {
	session *Session
	message *gws.Message
	next    func() (struct{}, bool)
	stop    func()
}

// maxIdleWorkers stay for the next frame; above it a worker ends with its frame.
const maxIdleWorkers = 64

func newWorker() *worker {
	w := &worker{}
	w.next, w.stop = iter.Pull(w.work)
	return w
}

func (w *worker) work(yield func(struct{}) bool) {
	defer func() {
		if w.session != nil { // a panic, which the reader gets without the place it comes from
			w.session.gw.log.Error("a frame cannot be processed", "stack", string(debug.Stack()))
		}
	}()
	for {
		w.session.process(w.message)
		w.session, w.message = nil, nil
		if !yield(struct{}{}) {
			return
		}
	}
}

// run processes one message of a session and returns when that is done.
func (p *workers) run(s *Session, m *gws.Message) {
	w := p.take()
	if w == nil {
		return
	}
	w.session, w.message = s, m
	s.working = true // a panic from here on is not the parser's
	w.next()
	s.working = false
	p.give(w)
}

// take gives an idle worker or a new one; nil = it is too late.
func (p *workers) take() *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.busy.Add(1)
	last := len(p.idle) - 1
	if last < 0 {
		return newWorker()
	}
	w := p.idle[last]
	p.idle = p.idle[:last]
	return w
}

func (p *workers) give(w *worker) {
	defer p.busy.Done()
	p.mu.Lock()
	if !p.closed && len(p.idle) < maxIdleWorkers {
		p.idle = append(p.idle, w)
		w = nil
	}
	p.mu.Unlock()
	if w != nil {
		w.stop()
	}
}

// close ends the idle workers and waits for the busy ones.
func (p *workers) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, w := range idle {
		w.stop()
	}
	p.busy.Wait()
}
