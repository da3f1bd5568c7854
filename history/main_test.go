package history

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/envelope"
	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// bench is a store over a server, and what is needed to fill it.
type stand struct {
	t     testing.TB
	nc    *nats.Conn
	store *Store
	serve protocol.ServerID
}

func newStand(t testing.TB, url string, replicas int) *stand {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s, err := New(Options{Control: nc, Reads: []*nats.Conn{nc}, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &stand{t: t, nc: nc, store: s, serve: 1}
}

func (s *stand) topic(c protocol.Channel) protocol.Topic {
	return protocol.Topic{Server: s.serve, Channel: c}
}

// put stores a publication and gives its offset.
func (s *stand) put(c protocol.Channel, id string, change ...func(*protocol.Publication, *nats.Msg)) uint64 {
	s.t.Helper()
	offset, err := s.try(c, id, change...)
	if err != nil {
		s.t.Fatal(err)
	}
	return offset
}

// putOnce is put while leaders change: the new one may not listen yet. It is tried again, and stored once.
func (s *stand) putOnce(c protocol.Channel, id string) (offset uint64) {
	s.t.Helper()
	natstest.Eventually(s.t, "message "+id, func() bool {
		var err error
		offset, err = s.try(c, id, func(_ *protocol.Publication, m *nats.Msg) { m.Header.Set(nats.MsgIdHdr, id) })
		return err == nil
	})
	return offset
}

func (s *stand) try(c protocol.Channel, id string, change ...func(*protocol.Publication, *nats.Msg)) (uint64, error) {
	p := &protocol.Publication{Server: s.serve, Channel: c, Kind: protocol.KindMessage, Accepted: time.Now(), ID: id, Frame: []byte(`{"id":"` + id + `"}`)}
	m := nats.NewMsg(subject.Stored(s.serve, c))
	for _, f := range change {
		f(p, m)
	}
	m.Data = envelope.Append(nil, p)
	ack, err := s.store.js.PublishMsg(s.t.Context(), m)
	if err != nil {
		return 0, err
	}
	return subject.Offset(subject.Shard(s.serve, c), ack.Sequence), nil
}

func (s *stand) read(c protocol.Channel, r Range) ([]string, bool) {
	s.t.Helper()
	page, err := s.store.Read(s.t.Context(), s.topic(c), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return ids(page.Publications), page.More
}

func ids(pubs []*protocol.Publication) []string {
	list := []string{}
	for _, p := range pubs {
		list = append(list, p.ID)
	}
	return list
}

// numbers is from..to as ids.
func numbers(from, to int) []string {
	list := []string{}
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func (s *stand) resume(c protocol.Channel, from protocol.Position, upTo uint64, max int) ([]string, bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	pubs, whole, err := s.store.Resume(ctx, s.topic(c), from, upTo, max)
	if err != nil {
		s.t.Fatal(err)
	}
	return ids(pubs), whole
}

func (s *stand) position(c protocol.Channel) protocol.Position {
	s.t.Helper()
	pos, err := s.store.Position(s.t.Context(), s.topic(c))
	if err != nil {
		s.t.Fatal(err)
	}
	return pos
}

func (s *stand) purge(c protocol.Channel) {
	s.t.Helper()
	if err := s.store.Purge(s.t.Context(), s.topic(c)); err != nil {
		s.t.Fatal(err)
	}
}

func single(t testing.TB) *stand {
	t.Helper()
	return newStand(t, natstest.Single(t).URL(), 1)
}
