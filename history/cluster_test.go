package history

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// TestLaggingReplicas: right after an acknowledgement another server's replica may not have the message yet.
// Resume up to it is whole all the same, or says that it is not; it never leaves a hole.
func TestLaggingReplicas(t *testing.T) {
	cluster := natstest.NewCluster(t, 3)
	writer := newStand(t, cluster.Nodes[0].URL(), 3)
	readers := []*stand{newStand(t, cluster.Nodes[1].URL(), 3), newStand(t, cluster.Nodes[2].URL(), 3)}
	start := writer.position("room")
	var last uint64
	for i := 1; i <= 150; i++ {
		from := protocol.Position{Epoch: start.Epoch, Offset: last}
		if last == 0 {
			from = start
		}
		last = writer.put("room", fmt.Sprint(i))
		for _, r := range readers {
			got, whole := r.resume("room", from, last, 100)
			want(t, "the newest", got, whole, []string{fmt.Sprint(i)}, true)
			got, whole = r.resume("room", protocol.Position{Epoch: start.Epoch, Offset: last}, from.Offset, 100)
			want(t, "ahead of the gateway", got, whole, nil, true)
		}
	}
	got, whole := readers[0].resume("room", start, last, 1000)
	want(t, "everything", got, whole, numbers(1, 150), true)

	// The same while leaders change.
	stream := subject.Stream(subject.Shard(1, "room"))
	for i := 151; i <= 160; i++ {
		if err := cluster.WaitLeader(t, stream).Server().JetStreamStepdownStream("$G", stream); err != nil {
			t.Fatal(err)
		}
		cluster.WaitLeader(t, stream)
		from := protocol.Position{Epoch: start.Epoch, Offset: last}
		last = writer.putOnce("room", fmt.Sprint(i))
		for _, r := range readers {
			natstest.Eventually(t, "a whole resume", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				pubs, whole, err := r.store.Resume(ctx, r.topic("room"), from, last, 100)
				if whole && (err != nil || !slices.Equal(ids(pubs), []string{fmt.Sprint(i)})) {
					t.Fatalf("whole with %v, %v", ids(pubs), err)
				}
				return whole
			})
		}
	}
	for _, r := range readers {
		epoch, _, err := r.store.Refresh(t.Context(), subject.Shard(1, "room"))
		if err != nil || epoch != start.Epoch {
			t.Errorf("epoch %s became %s (%v) by elections", start.Epoch, epoch, err)
		}
	}
}

// TestMoved: the newest of many channels, also of more than a server answers at once.
func TestMoved(t *testing.T) {
	s := single(t)
	const shard, n = 3, 1300
	var topics []protocol.Topic
	newest := map[protocol.Topic]uint64{}
	for i := 0; len(topics) < n; i++ {
		c := protocol.Channel(fmt.Sprintf("chat/%d", i))
		if subject.Shard(1, c) == shard {
			topics = append(topics, s.topic(c))
		}
	}
	for i, topic := range topics {
		_, newest[topic] = subject.SplitOffset(s.put(topic.Channel, fmt.Sprint(i)))
	}
	check := func(what string, asked []protocol.Topic, after uint64, wanted int) {
		t.Helper()
		got, through, err := s.store.Moved(t.Context(), shard, asked, after)
		if err != nil || len(got) != wanted || through < n {
			t.Fatalf("%s: %d channels, want %d, through %d (%v)", what, len(got), wanted, through, err)
		}
		for topic, seq := range got {
			if newest[topic] != seq {
				t.Errorf("%s: %s %d, want %d", what, topic.Channel, seq, newest[topic])
			}
		}
	}
	check("some", topics[:100], 0, 100)
	check("many", topics, 0, n)
	check("a pattern of many", []protocol.Topic{s.topic("chat/*")}, 0, n)
	check("those behind a sequence", topics, n-10, 10)
	check("a pattern behind a sequence", []protocol.Topic{s.topic("chat/*")}, n-10, 10)
	s.put(topics[5].Channel, "again")
	_, newest[topics[5]] = subject.SplitOffset(s.position(topics[5].Channel).Offset)
	check("one that moved", topics[:100], n, 1)
	if got, _, err := s.store.Moved(t.Context(), shard, []protocol.Topic{s.topic("nothing")}, 0); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
	forgotten := 0
	if err := s.store.PurgeIf(t.Context(), s.topic("chat/*"), func(c protocol.Channel) (time.Time, bool) {
		forgotten++
		return time.Time{}, c == topics[7].Channel || c == topics[8].Channel
	}); err != nil || forgotten != n {
		t.Errorf("purge by choice asked for %d of %d: %v", forgotten, n, err)
	}
	if got, _, err := s.store.Moved(t.Context(), shard, topics[:10], 0); err != nil || len(got) != 8 {
		t.Errorf("%d channels are left of 10: %v", len(got), err)
	}
}
