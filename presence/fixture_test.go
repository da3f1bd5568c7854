package presence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// patience is for conditions that come at once on a machine that has time.
const patience = time.Minute

// Short timings for tests. The lease cannot be shorter than a second, because the broker counts TTLs in seconds.
func quick(o *Options) {
	o.Heartbeat = 40 * time.Millisecond
	o.Suspect = 400 * time.Millisecond
	o.PingTimeout = 40 * time.Millisecond
	o.Lease = 3 * time.Second
	o.Refresh = 300 * time.Millisecond
	o.Hold = 500 * time.Millisecond
	o.Redo = 2 * time.Second
	o.Tombstone = time.Second
	o.AckTimeout = time.Second
}

// node is one gateway of a test.
type node struct {
	*Directory
	t    testing.TB
	nc   *nats.Conn
	link *link
	stop context.CancelFunc
	err  chan error
}

// connect opens a connection as gateways have it.
func connect(t testing.TB, urls ...string) (*nats.Conn, *link) {
	t.Helper()
	o := nats.GetDefaultOptions()
	o.Servers = urls
	o.MaxReconnect = -1
	o.ReconnectWait = 20 * time.Millisecond
	o.ReconnectJitter = 10 * time.Millisecond
	o.PingInterval = 5 * time.Second
	o.ReconnectBufSize = -1
	o.RetryOnFailedConnect = true
	l := &link{}
	o.CustomDialer = l
	nc, err := o.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, l
}

// link is the network between a gateway and the broker.
type link struct {
	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

var errCut = errors.New("link is cut")

func (l *link) Dial(network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return nil, errCut
	}
	c, err := net.Dial(network, address)
	if err == nil {
		l.conns = append(l.conns, c)
	}
	return c, err
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
}

// start runs a gateway over its own connection and waits until it is ready.
func start(t testing.TB, name string, urls []string, change ...func(*Options)) *node {
	t.Helper()
	n := prepare(t, name, urls, change...)
	n.run()
	n.ready()
	return n
}

func prepare(t testing.TB, name string, urls []string, change ...func(*Options)) *node {
	t.Helper()
	nc, l := connect(t, urls...)
	id := protocol.NodeID(fmt.Sprintf("%s%0*x", name, protocol.NodeIDLen-len(name), rand.N(1<<12)))
	o := Options{Conn: nc, Node: id, Addr: name, Logger: logger(t).With("at", name)}
	quick(&o)
	for _, f := range change {
		f(&o)
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &node{Directory: d, t: t, nc: nc, link: l, err: make(chan error, 1)}
}

func (n *node) run() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Ensure(ctx); err != nil {
		n.t.Fatal(err)
	}
	ctx, n.stop = context.WithCancel(context.Background())
	go func() { n.err <- n.Run(ctx) }()
	n.t.Cleanup(n.kill)
}

func (n *node) ready() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		n.t.Fatal(err)
	}
}

// kill ends a gateway without any cleaning up, as a crash does.
func (n *node) kill() {
	n.stop()
	select {
	case err := <-n.err:
		n.err <- nil
		if err != nil {
			n.t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		n.t.Errorf("Run of %s did not end", n.o.Node)
	}
	n.nc.Close()
}

// session makes a session id of the gateway.
func (n *node) session() protocol.SessionID {
	return protocol.SessionID(fmt.Sprintf("%s%016x", n.o.Node, rand.Uint64()))
}

func (n *node) watch(topic protocol.Topic) *recorder {
	n.t.Helper()
	r := &recorder{t: n.t, name: string(n.o.Node), members: make(map[memberID]string)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := n.Watch(ctx, topic, r)
	if err != nil {
		n.t.Fatal(err)
	}
	r.watch = w
	return r
}

// recorder is a sink that keeps the list as a client would, and fails on a transition that cannot be.
type recorder struct {
	t     testing.TB
	name  string
	watch *Watch

	mu      sync.Mutex
	members map[memberID]string
	log     []Change
	counts  [4]int
}

func (r *recorder) Changed(changes []Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		id := memberID{c.Channel, c.Session}
		_, here := r.members[id]
		if here == (c.Kind == Join) {
			r.t.Errorf("%s: %s of %s in %s, but here was %v", r.name, c.Kind, c.Session, c.Channel, here)
		}
		if c.Kind == Leave {
			delete(r.members, id)
		} else {
			r.members[id] = string(c.Value)
		}
		r.counts[c.Kind]++
		if len(r.log) < 10_000 {
			r.log = append(r.log, c)
		}
	}
}

func (r *recorder) list() map[memberID]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.members)
}

func (r *recorder) count(k ChangeKind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[k]
}

func (r *recorder) kinds() (s []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.log {
		s = append(s, c.Kind.String())
	}
	return s
}

// sees waits until the recorder has exactly these sessions.
func (r *recorder) sees(want ...protocol.SessionID) {
	r.t.Helper()
	want = slices.Sorted(slices.Values(want))
	var have []protocol.SessionID
	eventually(r.t, 2*time.Millisecond, func() bool {
		if r.size() != len(want) {
			return false
		}
		have = have[:0]
		for id := range r.list() {
			have = append(have, id.session)
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	}, func() string {
		if len(want) > 100 {
			return fmt.Sprintf("%s to see %d sessions; it sees %d", r.name, len(want), r.size())
		}
		return fmt.Sprintf("%s to see %v; it sees %v", r.name, want, r.list())
	})
}

func (r *recorder) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}

// eventually is natstest.Eventually for conditions that cost something, and for slower machines.
func eventually(t testing.TB, every time.Duration, ok func() bool, what func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what())
		}
		<-tick.C
	}
}

func room(name string) protocol.Topic {
	return protocol.Topic{Server: 1, Channel: protocol.Channel(name)}
}

// entryOf is a client object.
func entryOf(s protocol.SessionID, dbo, row int, data string) []byte {
	return fmt.Appendf(nil, `{"socketId":%q,"extras":{},"permissions":{"dbo_id":%d,"row_id":%d},"data":%q}`, s, dbo, row, data)
}

func logger(testing.TB) *slog.Logger {
	w := io.Discard
	if os.Getenv("PRESENCE_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func single(t testing.TB) []string {
	t.Helper()
	return []string{natstest.Single(t).URL()}
}

// stored is what the buckets hold: session by key, read by the leader's list.
func (n *node) stored() (keys []string) {
	n.t.Helper()
	for shard := range n.o.Shards {
		js, err := jetstream.New(n.nc)
		if err != nil {
			n.t.Fatal(err)
		}
		s, err := js.Stream(n.t.Context(), stream(shard))
		if err != nil {
			return []string{err.Error()}
		}
		i, err := s.Info(n.t.Context(), jetstream.WithSubjectFilter(bucketPrefix(shard)+">"))
		if err != nil {
			return []string{err.Error()}
		}
		for k := range i.State.Subjects {
			k = strings.TrimPrefix(k, bucketPrefix(shard))
			if _, err := parseKey(k); err == nil {
				keys = append(keys, k)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// flushed waits until the bucket has everything of the gateway.
func (n *node) flushed() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.roster.settled(ctx); err != nil {
		n.t.Fatal(err)
	}
}
