package client

import (
	"context"
	"sync"
)

// item is one queued event. at is the position behind it when it has one.
type item struct {
	event Event
	size  int
	at    *Position
}

// queue holds the events of one channel for the application; bounded, see the package comment.
type queue struct {
	maxEvents, maxBytes int

	mu    sync.Mutex
	items []item
	bytes int
	err   error         // set once no more events come
	ready chan struct{} // one slot: something changed
}

func newQueue(maxEvents, maxBytes int) *queue {
	return &queue{maxEvents: maxEvents, maxBytes: maxBytes, ready: make(chan struct{}, 1)}
}

// push appends unless the queue is full. A single event larger than the bound is taken by an empty queue.
func (q *queue) push(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return true // nobody will ask for it
	}
	if len(q.items) >= q.maxEvents || len(q.items) > 0 && q.bytes+it.size > q.maxBytes {
		return false
	}
	q.items = append(q.items, it)
	q.bytes += it.size
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// end lets the application take what is queued, then err.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.signal()
}

// roomy tells whether three quarters of the queue are free.
func (q *queue) roomy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.roomyLocked()
}

func (q *queue) roomyLocked() bool {
	return len(q.items) <= q.maxEvents/4 && q.bytes <= q.maxBytes/4
}

// pop waits for the next event.
func (q *queue) pop(ctx context.Context) (it item, roomy bool, err error) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			it = q.items[0]
			q.items[0] = item{}
			if q.items = q.items[1:]; len(q.items) == 0 {
				q.items = nil
			}
			q.bytes -= it.size
			roomy = q.roomyLocked()
			if len(q.items) > 0 || q.err != nil {
				q.signal() // for another taker
			}
			q.mu.Unlock()
			return it, roomy, nil
		}
		err := q.err
		if err != nil {
			q.signal()
		}
		q.mu.Unlock()
		if err != nil {
			return item{}, false, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return item{}, false, ctx.Err()
		}
	}
}
