package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/protocol"
)

// Channel is one channel or pattern of a client. What is behind Client.mu is marked in the comment of the
// field group.
type Channel struct {
	c    *Client
	name string
	o    ChannelOptions
	q    *queue
	// stalled: the queue was full; nothing more is queued before a resync. Written under Client.mu.
	stalled atomic.Bool

	// Guarded by Client.mu.
	wanted    bool       // joined, or to be joined on the next connection
	waiting   chan error // of the first Join
	live      bool       // joined on the current connection
	expect    int        // joins on the current connection without an answer
	due       time.Time  // when to send the join again; zero = not
	asked     *Position  // what the last join resumes from; nil = no resume
	stored    bool       // position is one to resume from
	position  Position   // behind the last event queued
	gap       GapReason  // a *Gap to be queued before anything else
	cause     GapReason  // why the channel is being joined again
	self      Member
	members   []Member
	seen      recent
	data      json.RawMessage // own presence data
	histories []*call         // history requests in order

	deliveredMu sync.Mutex
	delivered   Position // behind the last event the application took
}

// Name is the name of the channel.
func (ch *Channel) Name() string { return ch.name }

// Join joins the channel and waits for the answer. A refusal is a *protocol.Error. From then on the channel is
// kept joined through reconnections until Leave.
func (ch *Channel) Join(ctx context.Context) error {
	c := ch.c
	waiting := make(chan error, 1)
	c.mu.Lock()
	switch {
	case c.err != nil:
		defer c.mu.Unlock()
		return c.err
	case c.closing:
		c.mu.Unlock()
		return ErrClosed
	case ch.wanted || c.channels[ch.name] != nil:
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", ch.name, ErrJoined)
	}
	ch.wanted, ch.waiting = true, waiting
	c.channels[ch.name] = ch
	c.order = append(c.order, ch)
	if c.link != nil {
		ch.sendJoinLocked(c.link)
	}
	c.mu.Unlock()
	select {
	case err := <-waiting:
		return err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		select {
		case err := <-waiting: // answered at the same moment
			return err
		default:
		}
		ch.leaveLocked(ErrLeft)
		return fmt.Errorf("join %s: %w", ch.name, ctx.Err())
	}
}

// Leave leaves the channel. Events that are queued may still be taken; then Next returns ErrLeft.
func (ch *Channel) Leave() {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	if ch.wanted {
		ch.leaveLocked(ErrLeft)
	}
}

// leaveLocked leaves on the server and ends the channel.
func (ch *Channel) leaveLocked(err error) {
	if ch.c.link != nil {
		ch.c.link.push(leaveFrame(ch.name))
	}
	ch.endLocked(err)
}

// endLocked forgets the channel.
func (ch *Channel) endLocked(err error) {
	ch.wanted, ch.live, ch.due = false, false, time.Time{}
	delete(ch.c.channels, ch.name)
	ch.c.order = slices.DeleteFunc(ch.c.order, func(other *Channel) bool { return other == ch })
	if ch.waiting != nil {
		ch.waiting <- err
		ch.waiting = nil
	}
	for _, call := range ch.histories {
		call.done <- answer{err: err}
	}
	ch.histories = nil
	ch.q.end(err)
	ch.c.signalLocked()
}

// Next waits for the next event. After the channel was left, removed or the client closed, the events queued
// come first and then the reason as an error.
func (ch *Channel) Next(ctx context.Context) (Event, error) {
	it, roomy, err := ch.q.pop(ctx)
	if err != nil {
		return nil, err
	}
	if it.at != nil {
		ch.deliveredMu.Lock()
		ch.delivered = *it.at
		ch.deliveredMu.Unlock()
	}
	if roomy && ch.stalled.Load() {
		ch.c.mu.Lock()
		if ch.stalled.Load() && ch.live && ch.c.link != nil {
			ch.resyncLocked(ch.c.link, GapSlow)
		}
		ch.c.mu.Unlock()
	}
	return it.event, nil
}

// Events gives the events until ctx or the channel ends; the error is the last thing it yields.
func (ch *Channel) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, err := ch.Next(ctx)
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Position is the place behind the last event taken with Next: what to give to ChannelOptions.From after a
// restart of the program. It is the zero Position while the channel has no history.
func (ch *Channel) Position() Position {
	ch.deliveredMu.Lock()
	defer ch.deliveredMu.Unlock()
	return ch.delivered
}

// Send sends a message to everybody on the channel and waits until the server has accepted it. payload is
// anything encoding/json can encode. While the connection is down Send waits for it, within ctx.
func (ch *Channel) Send(ctx context.Context, payload any) (Receipt, error) {
	return ch.SendTo(ctx, payload, SendOptions{})
}

// SendTo sends a message to those that o names. See Send.
func (ch *Channel) SendTo(ctx context.Context, payload any, o SendOptions) (Receipt, error) {
	body, err := json.Marshal(payload)
	if err != nil {
		return Receipt{}, fmt.Errorf("payload: %w", err)
	}
	a, err := ch.request(ctx, func(l *link, call *call) {
		ch.c.refs++
		ref := fmt.Sprintf("%s-%d", ch.c.base, ch.c.refs)
		ch.c.calls[ref] = call
		l.push(messageFrame(ch.name, ref, o, body))
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("send to %s: %w", ch.name, err)
	}
	return a.receipt, nil
}

// HistoryQuery chooses a page of history, always given oldest first. Limit alone asks for the latest messages,
// Before for the nearest older ones, After and Since for the oldest newer ones.
type HistoryQuery struct {
	Limit  int // default 100
	Before uint64
	After  *uint64
	Since  time.Time
}

// Page is an answer to a HistoryQuery.
type Page struct {
	Messages []*Message
	// More: there are more in the direction asked for.
	More bool
}

// History reads stored messages.
func (ch *Channel) History(ctx context.Context, q HistoryQuery) (Page, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	a, err := ch.request(ctx, func(l *link, call *call) {
		ch.histories = append(ch.histories, call)
		l.push(historyFrame(ch.name, q))
	})
	if err != nil {
		return Page{}, fmt.Errorf("history of %s: %w", ch.name, err)
	}
	return Page{Messages: a.messages, More: a.more}, nil
}

// request waits until the channel is live, sends with c.mu held, and waits for the answer.
func (ch *Channel) request(ctx context.Context, send func(*link, *call)) (answer, error) {
	c := ch.c
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.o.AckTimeout)
		defer cancel()
	}
	if err := c.acquire(ctx); err != nil {
		return answer{}, err
	}
	defer c.release()
	call := &call{channel: ch, done: make(chan answer, 1)}
	if err := ch.whenLive(ctx, func(l *link) { send(l, call) }); err != nil {
		return answer{}, err
	}
	select {
	case a := <-call.done:
		return a, a.err
	case <-ctx.Done():
		c.mu.Lock()
		for ref, other := range c.calls {
			if other == call {
				delete(c.calls, ref)
			}
		}
		c.mu.Unlock()
		return answer{}, unknownOutcome(ctx.Err())
	}
}

// whenLive calls f, under Client.mu, once the channel is joined on a connection.
func (ch *Channel) whenLive(ctx context.Context, f func(*link)) error {
	c := ch.c
	for {
		c.mu.Lock()
		switch {
		case c.err != nil:
			defer c.mu.Unlock()
			return c.err
		case !ch.wanted:
			c.mu.Unlock()
			return ErrNotJoined
		case ch.live && c.link != nil:
			f(c.link)
			c.mu.Unlock()
			return nil
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("not connected: %w", ctx.Err())
		}
	}
}

// errData: presence data must be an object.
var errData = errors.New("presence data must be a JSON object")

// SetPresence changes the data of the client's own presence entry, an object of at most 4 KiB as JSON; nil
// clears it. It returns when the data is about to be sent; of changes that follow each other faster than the
// connection takes them only the last one is. The server is told again after each reconnection. A refusal comes
// as a *Failure event.
func (ch *Channel) SetPresence(ctx context.Context, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("presence data: %w", err)
	}
	if body[0] != '{' && string(body) != "null" {
		return errData
	}
	if err := ch.whenLive(ctx, func(l *link) {
		ch.data = body
		l.pushLatest(ch.name, presenceFrame(ch.name, body))
	}); err != nil {
		return fmt.Errorf("presence of %s: %w", ch.name, err)
	}
	return nil
}

// Presence gives the members as last told; empty unless the channel was joined with ChannelOptions.Presence.
func (ch *Channel) Presence() []Member {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	return slices.Clone(ch.members)
}

// Self is the client's own entry on the current or last connection; its socket changes with each connection.
func (ch *Channel) Self() Member {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	return ch.self
}

// pattern tells whether the name is one.
func (ch *Channel) pattern() bool { return protocol.Channel(ch.name).IsPattern() }
