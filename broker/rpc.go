package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Bounds of requests between gateways.
const (
	maxHandlers  = 64 // answered at once
	requestQueue = 1024
	requestWait  = 5 * time.Second // when the context has no deadline, and for handlers

	headerNode  = "Fanfare-Node"
	headerError = "Fanfare-Error"
)

// Handler answers a request of another gateway. An error's text is sent to the asking gateway's log.
type Handler func(ctx context.Context, payload []byte) ([]byte, error)

// rpc is requests from gateway to gateway.
type rpc struct {
	b  *Broker
	in chan *nats.Msg

	mu       sync.RWMutex // guards what follows
	handlers map[string]Handler
}

func newRPC(b *Broker) *rpc {
	return &rpc{b: b, in: make(chan *nats.Msg, requestQueue), handlers: map[string]Handler{}}
}

// Handle answers requests of other gateways. To be called before Run.
func (b *Broker) Handle(verb string, h func(ctx context.Context, payload []byte) ([]byte, error)) {
	b.rpc.mu.Lock()
	defer b.rpc.mu.Unlock()
	b.rpc.handlers[verb] = h
}

func (r *rpc) handler(verb string) Handler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.handlers[verb]
}

// run answers requests until ctx ends.
func (r *rpc) run(ctx context.Context) error {
	r.mu.RLock()
	verbs := slices.Collect(maps.Keys(r.handlers))
	r.mu.RUnlock()
	nc := r.b.o.Client.Control()
	for _, verb := range verbs {
		for _, name := range []string{subject.Gateway(r.b.o.Node, verb), subject.AllGateways(verb)} {
			sub, err := nc.ChanSubscribe(name, r.in)
			if err != nil {
				return fmt.Errorf("subscribe to requests: %w", err)
			}
			defer func() { _ = sub.Unsubscribe() }()
		}
	}
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, maxHandlers)
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-r.in:
			select {
			case slots <- struct{}{}:
				group.Go(func() {
					defer func() { <-slots }()
					r.answer(ctx, m)
				})
			default:
				r.b.metrics.requests.WithLabelValues("overloaded").Inc()
				r.reply(m, nil, protocol.ErrOverloaded)
			}
		}
	}
}

func (r *rpc) answer(ctx context.Context, m *nats.Msg) {
	verb := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	h := r.handler(verb)
	if h == nil || m.Header.Get(headerNode) == string(r.b.o.Node) {
		return // a request to all gateways is for the others
	}
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	answer, err := h(ctx, m.Data)
	result := "ok"
	if err != nil {
		result = "error"
	}
	r.b.metrics.requests.WithLabelValues(result).Inc()
	r.reply(m, answer, err)
}

func (r *rpc) reply(m *nats.Msg, answer []byte, err error) {
	out := &nats.Msg{Subject: m.Reply, Data: answer, Header: nats.Header{headerNode: {string(r.b.o.Node)}}}
	if err != nil {
		out.Data = nil
		out.Header[headerError] = []string{oneLine(err.Error())}
	}
	if err := r.b.o.Client.Control().PublishMsg(out); err != nil {
		r.b.log.Debug("answer to another gateway", "err", err)
	}
}

// oneLine keeps an error from ending a header early.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' {
			return ' '
		}
		return c
	}, s)
}

// Request asks one gateway, which may be this one. ErrNoGateway: it does not exist (any more); ErrPeer: it
// answered with an error.
func (b *Broker) Request(ctx context.Context, node protocol.NodeID, verb string, payload []byte) ([]byte, error) {
	ctx, cancel := requestContext(ctx)
	defer cancel()
	if node == b.o.Node {
		h := b.rpc.handler(verb)
		if h == nil {
			return nil, fmt.Errorf("%w: unknown verb %s", ErrPeer, verb)
		}
		answer, err := h(ctx, payload)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPeer, err)
		}
		return answer, nil
	}
	if !validNode(node) || b.o.Solo {
		return nil, ErrNoGateway
	}
	m, err := b.o.Client.Control().RequestMsgWithContext(ctx, &nats.Msg{
		Subject: subject.Gateway(node, verb), Data: payload, Header: nats.Header{headerNode: {string(b.o.Node)}},
	})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, ErrNoGateway
	case err != nil:
		return nil, fmt.Errorf("ask gateway: %w", err)
	}
	if text := m.Header.Get(headerError); text != "" {
		return nil, fmt.Errorf("%w: %s", ErrPeer, text)
	}
	return m.Data, nil
}

// RequestAll asks the other gateways and waits until all that are expected have answered or ctx ends (5 s when it
// has no deadline). It gives the answers of those expected that came; those that answered with an error, or not
// at all, are named in the error.
func (b *Broker) RequestAll(ctx context.Context, verb string, payload []byte, expect []protocol.NodeID) (map[protocol.NodeID][]byte, error) {
	missing := map[protocol.NodeID]string{}
	for _, node := range expect {
		if node != b.o.Node {
			missing[node] = "no answer"
		}
	}
	answers := map[protocol.NodeID][]byte{}
	if len(missing) == 0 {
		return answers, nil
	}
	ctx, cancel := requestContext(ctx)
	defer cancel()
	nc := b.o.Client.Control()
	inbox := nc.NewInbox()
	in := make(chan *nats.Msg, 2*len(missing)+16)
	sub, err := nc.ChanSubscribe(inbox, in)
	if err != nil {
		return nil, fmt.Errorf("ask gateways: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishMsg(&nats.Msg{
		Subject: subject.AllGateways(verb), Reply: inbox, Data: payload, Header: nats.Header{headerNode: {string(b.o.Node)}},
	}); err != nil {
		return nil, fmt.Errorf("ask gateways: %w", err)
	}
	failed := map[protocol.NodeID]string{}
	for len(missing) > 0 {
		select {
		case <-ctx.Done():
			maps.Copy(failed, missing)
			return answers, fmt.Errorf("ask gateways: %w: %v", ErrPeer, failed)
		case m := <-in:
			node := protocol.NodeID(m.Header.Get(headerNode))
			if _, ok := missing[node]; !ok {
				if m.Header.Get("Status") == "503" { // nobody is there
					maps.Copy(failed, missing)
					return answers, fmt.Errorf("ask gateways: %w: %v", ErrNoGateway, failed)
				}
				continue
			}
			delete(missing, node)
			if text := m.Header.Get(headerError); text != "" {
				failed[node] = text
				continue
			}
			answers[node] = m.Data
		}
	}
	if len(failed) > 0 {
		return answers, fmt.Errorf("ask gateways: %w: %v", ErrPeer, failed)
	}
	return answers, nil
}

func requestContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, requestWait)
}

// validNode keeps what a client sends as a session's name from becoming another subject.
func validNode(node protocol.NodeID) bool {
	if len(node) != protocol.NodeIDLen {
		return false
	}
	for i := range len(node) {
		c := node[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
