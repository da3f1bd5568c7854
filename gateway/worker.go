package gateway

import (
	"sync"

	"github.com/lxzan/gws"
)

// workers process frames on behalf of the sockets' readers. A reader hands its frame to an idle worker and
// waits, so frames of a socket keep their order and a slow join holds up only its own socket; but the stack
// that decoding, permissions and fan-out need grows on the worker and is used again by the next socket,
// instead of staying with every idle connection.
type workers struct {
	mu     sync.Mutex
	idle   []*worker
	closed bool
	wg     sync.WaitGroup
}

type worker struct {
	in  chan job
	out chan struct{}
}

type job struct {
	session *Session
	message *gws.Message
}

// maxIdleWorkers stay for the next frame; above it a worker ends with its frame.
const maxIdleWorkers = 64

// run processes one message of a session and returns when that is done.
func (p *workers) run(s *Session, m *gws.Message) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	var w *worker
	if last := len(p.idle) - 1; last >= 0 {
		w = p.idle[last]
		p.idle = p.idle[:last]
	} else {
		w = &worker{in: make(chan job), out: make(chan struct{})}
		p.wg.Add(1)
		go p.work(w)
	}
	p.mu.Unlock()
	w.in <- job{session: s, message: m}
	<-w.out
	p.mu.Lock()
	if p.closed || len(p.idle) >= maxIdleWorkers {
		close(w.in)
	} else {
		p.idle = append(p.idle, w)
	}
	p.mu.Unlock()
}

func (p *workers) work(w *worker) {
	defer p.wg.Done()
	for j := range w.in {
		j.session.process(j.message)
		w.out <- struct{}{}
	}
}

// close ends the idle workers and waits for the busy ones.
func (p *workers) close() {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.idle {
		close(w.in)
	}
	p.idle = nil
	p.mu.Unlock()
	p.wg.Wait()
}
