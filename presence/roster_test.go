package presence

import (
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanfare/internal/natstest"
)

// While the broker is away sessions come and go; what waits stays bounded by those who are there.
func TestWaitingWritesAreBounded(t *testing.T) {
	a := prepare(t, "aa", single(t)) // not running: no lease, nothing is written
	topic := room("room1")
	stay := a.session()
	a.Put(topic, stay, []byte("stays"))
	for range 100_000 {
		s := a.session()
		a.Put(topic, s, []byte("comes"))
		a.Put(topic, s, []byte("changes"))
		a.Delete(topic, s)
	}
	q := &a.roster.queues[0]
	if len(a.roster.members) != 1 || a.roster.pending != 1 || q.len() > 1024 {
		t.Fatalf("%d members, %d pending, %d queued", len(a.roster.members), a.roster.pending, q.len())
	}
	a.run()
	a.ready()
	a.flushed()
	if n := len(a.stored()); n != 1 {
		t.Fatalf("%d entries stored", n)
	}
	if n := testutil.ToFloat64(a.metrics.written.WithLabelValues("entry")); n != 1 {
		t.Errorf("%v entries written", n)
	}
}

// The latest value wins, and what is overtaken is not written.
func TestStormsAreCoalesced(t *testing.T) {
	urls := single(t)
	a, b := start(t, "aa", urls), start(t, "bb", urls)
	topic := room("room1")
	r := b.watch(topic)
	s := a.session()
	for i := range 10_000 {
		a.Put(topic, s, []byte(strconv.Itoa(i)))
	}
	natstest.Eventually(t, "the last value", func() bool {
		return r.list()[memberID{topic.Channel, s}] == "9999"
	})
	a.flushed()
	if n := testutil.ToFloat64(a.metrics.written.WithLabelValues("entry")); n > 200 {
		t.Errorf("%v writes", n)
	}
}

func TestRefusedEntries(t *testing.T) {
	a := start(t, "aa", single(t))
	topic := room("room1")
	big, bad, good := a.session(), a.session()+"/.*", a.session()
	a.Put(topic, big, make([]byte, 2<<20)) // over the broker's maximum
	a.Put(topic, bad, []byte("no token"))
	a.Put(room(""), good, []byte("no channel"))
	a.Put(topic, good, []byte("good"))
	a.flushed()
	if n := len(a.stored()); n != 1 {
		t.Fatalf("%d entries stored", n)
	}
	if n := testutil.ToFloat64(a.metrics.writeErrors.WithLabelValues("too_large")); n != 1 {
		t.Errorf("%v entries too large", n)
	}
	a.Put(topic, big, []byte("small now"))
	a.flushed()
	a.Delete(topic, good)
	a.Delete(topic, big)
	a.Delete(topic, bad) // never was
	a.flushed()
	natstest.Eventually(t, "tombstones to remove themselves", func() bool { return len(a.stored()) == 0 })
	if n := len(a.roster.members); n != 0 {
		t.Errorf("%d members left", n)
	}
}

// The answers of a leaderless broker do not make the writer hammer it.
func TestWriterBacksOff(t *testing.T) {
	a := start(t, "aa", single(t))
	js, err := a.nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	// The same subjects under another name, without acknowledgement: every write stays without answer.
	if err := js.DeleteStream(stream(0)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan *nats.Msg, 10_000)
	if _, err := a.nc.ChanSubscribe(bucketPrefix(0)+">", sent); err != nil {
		t.Fatal(err)
	}
	if err := a.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		a.Put(room("room1"), a.session(), []byte("x"))
	}
	natstest.Eventually(t, "the bucket to be made anew and written", func() bool { return a.pending() == 0 && len(a.stored()) == 10 })
	if n := len(sent); n > 10*12 {
		t.Errorf("%d messages for 10 entries", n)
	}
}

func (n *node) pending() int {
	n.roster.mu.Lock()
	defer n.roster.mu.Unlock()
	return n.roster.pending
}

func TestMetricsFollowTheRules(t *testing.T) {
	nc, _ := connect(t, single(t)...)
	r := prometheus.NewRegistry()
	d, err := New(Options{Conn: nc, Node: "abcdefgh", Registerer: r})
	if err != nil {
		t.Fatal(err)
	}
	d.metrics.churn.WithLabelValues("join").Inc()
	d.metrics.written.WithLabelValues("entry").Inc()
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if _, err := New(Options{Conn: nc, Node: "abcdefgh", Registerer: r}); err == nil {
		t.Error("metrics were registered twice")
	}
}
