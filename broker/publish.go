package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/envelope"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Headers of a stored publication.
const (
	headerID     = "Nats-Msg-Id"
	headerTTL    = "Nats-TTL"
	headerExpect = "Nats-Expected-Last-Subject-Sequence"
)

// Publish hands over a publication and never blocks; done is called exactly once and must not block either.
//
// An unstored one is delivered to this node's feeds before Publish returns, done inline, and sent to the other
// gateways. A stored one is answered when the stream acknowledged it, on a goroutine of the Broker; it comes back
// to the feeds by way of the stream. Those of one lane are stored in the order of Publish; the empty lane has no
// order.
//
// Errors: protocol.ErrOverloaded when too much is under way, protocol.ErrUnavailable when the broker cannot be
// reached and nothing was sent, protocol.ErrUnknownOutcome when the acknowledgement did not come before the
// deadline (the same ID again is stored once), a too_large error, ErrRefused.
func (b *Broker) Publish(p *protocol.Publication, stored bool, lane protocol.SessionID, done func(protocol.Receipt, error)) {
	if stored {
		b.store(p, lane, 0, false, done)
		return
	}
	err := b.pass(p)
	if err == nil {
		b.metrics.passed.Inc()
	} else {
		b.count("unstored", err)
	}
	done(protocol.Receipt{ID: p.ID}, err)
}

// PublishExpecting stores p only if the newest stored offset of its channel is expect (0: nothing is stored).
// Otherwise the error is ErrOffset.
func (b *Broker) PublishExpecting(p *protocol.Publication, lane protocol.SessionID, expect uint64, done func(protocol.Receipt, error)) {
	b.store(p, lane, expect, true, done)
}

// pass delivers an unstored publication here and hands it to the other gateways.
func (b *Broker) pass(p *protocol.Publication) error {
	if b.o.Solo {
		b.interest.deliver(p)
		return nil
	}
	if err := b.sender.add(p); err != nil {
		return err
	}
	b.interest.deliver(p)
	return nil
}

// add queues an unstored publication for the other gateways.
func (s *sender) add(p *protocol.Publication) error {
	if s.offline() {
		return protocol.ErrUnavailable
	}
	if err := subject.Check(p.Channel); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if p.Origin != s.b.o.Node { // the origin is what keeps its echo from being delivered here again
		own := *p
		own.Origin = s.b.o.Node
		p = &own
	}
	data := envelope.Numbered(p)
	if int64(len(data)) > s.nc.MaxPayload() && s.nc.MaxPayload() > 0 {
		return tooLarge(s.nc.MaxPayload())
	}
	size := int64(len(data))
	if !s.reserve(size) {
		return protocol.ErrOverloaded
	}
	m := coreMessage{subject: subject.Live(protocol.Topic{Server: p.Server, Channel: p.Channel}), data: data, at: time.Now()}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		s.release(size)
		return protocol.ErrUnavailable
	}
	s.numbered++
	envelope.SetNumber(data, s.numbered) // here, where the order is made
	s.core = append(s.core, m)
	s.mu.Unlock()
	s.signal()
	return nil
}

// offline tells that the connection has been lost for so long that nothing should wait for it.
func (s *sender) offline() bool {
	if s.nc.IsConnected() {
		return false
	}
	up, since := s.b.o.Client.Connected()
	return !up && time.Since(since) > offlineGrace
}

func (b *Broker) store(p *protocol.Publication, lane protocol.SessionID, expect uint64, expects bool, done func(protocol.Receipt, error)) {
	s := b.sender
	if err := s.store(p, lane, expect, expects, done); err != nil {
		b.count("stored", err)
		done(protocol.Receipt{}, err)
	}
}

// store hands a publication to run; on an error done will not be called.
func (s *sender) store(p *protocol.Publication, lane protocol.SessionID, expect uint64, expects bool, done func(protocol.Receipt, error)) error {
	if err := subject.Check(p.Channel); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if s.offline() {
		return protocol.ErrUnavailable
	}
	now := time.Now()
	e := &pending{
		p: p, lane: lane, shard: subject.Shard(p.Server, p.Channel), expects: expects, done: done,
		began: now, deadline: now.Add(s.b.o.Deadline),
	}
	header := nats.Header{headerID: {messageID(p)}}
	if p.TTL > 0 {
		header[headerTTL] = []string{strconv.FormatInt(int64((p.TTL+time.Second-1)/time.Second), 10)}
	}
	if expects {
		shard, seq := subject.SplitOffset(expect)
		if expect > 0 && shard != e.shard {
			return ErrOffset
		}
		e.expect = seq
		header[headerExpect] = []string{strconv.FormatUint(seq, 10)}
	}
	e.msg = &nats.Msg{
		Subject: subject.Stored(p.Server, p.Channel),
		Header:  header,
		Data:    envelope.Append(make([]byte, 0, envelope.Size(p)), p),
	}
	e.size = int64(len(e.msg.Data))
	if !s.reserve(e.size) {
		return protocol.ErrOverloaded
	}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		s.release(e.size)
		return protocol.ErrUnavailable
	}
	s.fresh = append(s.fresh, e)
	s.mu.Unlock()
	s.signal()
	return nil
}

// messageID is what JetStream recognises a publication by: its ID, which belongs to its channel. IDs may come
// from back ends: what does not fit into a header is hashed.
func messageID(p *protocol.Publication) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strconv.FormatInt(int64(p.Server), 10) + "/" + string(p.Channel)))
	id := p.ID
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || len(id) > 128 {
			sum := sha256.Sum256([]byte(p.ID))
			id = "h:" + hex.EncodeToString(sum[:])
			break
		}
	}
	return strconv.FormatUint(h.Sum64(), 36) + ":" + id
}

func (b *Broker) count(kind string, err error) {
	b.metrics.published.WithLabelValues(kind, resultOf(protocol.Receipt{}, err)).Inc()
}

func tooLarge(limit int64) error {
	return &protocol.Error{Code: protocol.CodeTooLarge, Message: fmt.Sprintf("The message is too large for the broker, which takes %d bytes.", limit)}
}

// jitter spreads a wait from half of it to the whole.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
