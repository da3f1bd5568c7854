package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/natstest"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

func (r *rig) item(c protocol.Channel, id string, expect ...uint64) BatchItem {
	i := BatchItem{Publication: r.publication(c, id)}
	if len(expect) > 0 {
		i.Expect = &expect[0]
	}
	return i
}

func (r *rig) newest(c protocol.Channel) uint64 {
	r.t.Helper()
	p, err := r.store.Position(r.t.Context(), topic(c))
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Offset
}

func wantItem(t *testing.T, err error, index int, want error) {
	t.Helper()
	item, ok := errors.AsType[*ItemError](err)
	if !ok || item.Index != index || !errors.Is(err, want) {
		t.Errorf("error %v, want item %d: %v", err, index, want)
	}
}

// TestBatch: a batch is stored, delivered in order, linked back and answered like single publications.
func TestBatch(t *testing.T) {
	r := solo(t)
	feed, got := r.attach("{x}/a", true)
	defer feed.Detach()
	other, gotOther := r.attach("{x}/b", true)
	defer other.Detach()
	r.mustPublish("{x}/a", "before", true)
	receipts, err := r.PublishBatch(t.Context(), []BatchItem{r.item("{x}/a", "1"), r.item("{x}/b", "2", 0), r.item("{x}/a", "3")})
	if err != nil {
		t.Fatal(err)
	}
	r.mustPublish("{x}/a", "after", true)
	natstest.Eventually(t, "delivery", func() bool { return got.count() == 4 && gotOther.count() == 1 })
	if ids := strings.Join(got.got(), " "); ids != "before 1 3 after" {
		t.Errorf("delivered %s", ids)
	}
	for i, c := range []protocol.Channel{"{x}/a", "{x}/b", "{x}/a"} {
		if p := receipts[i].Position; p.Offset == 0 || p.Epoch == "" || receipts[i].Duplicate || i > 0 && p.Offset <= receipts[i-1].Position.Offset {
			t.Errorf("receipt of %s: %+v", c, receipts[i])
		}
	}
	if r.newest("{x}/b") != receipts[1].Position.Offset {
		t.Errorf("receipt says %d, the channel's newest is %d", receipts[1].Position.Offset, r.newest("{x}/b"))
	}
	// The same batch again is the same.
	again, err := r.PublishBatch(t.Context(), []BatchItem{r.item("{x}/a", "1"), r.item("{x}/b", "2", 0), r.item("{x}/a", "3")})
	if err != nil || len(again) != 3 {
		t.Fatal(again, err)
	}
	for i := range again {
		if !again[i].Duplicate || again[i].Position != receipts[i].Position {
			t.Errorf("repeated: %+v, first %+v", again[i], receipts[i])
		}
	}
}

// TestBatchRefused: nothing of a refused batch is stored, and the error names the culprit.
func TestBatchRefused(t *testing.T) {
	r := solo(t)
	elsewhere := protocol.Channel("e")
	for i := 0; subject.Shard(1, elsewhere) == subject.Shard(1, "{x}"); i++ {
		elsewhere = protocol.Channel(fmt.Sprintf("e%d", i))
	}
	at := r.mustPublish("{x}/a", "first", true).Position.Offset
	try := func(items ...BatchItem) error {
		t.Helper()
		_, err := r.PublishBatch(t.Context(), items)
		return err
	}
	wantItem(t, try(r.item("{x}/a", "1"), r.item(elsewhere, "2")), 1, ErrSpread)
	wantItem(t, try(r.item("{x}/b", "1"), r.item("{x}/a", "2", at+8)), 1, ErrOffset)
	wantItem(t, try(r.item("{x}/b", "1"), r.item("{x}/a", "2", 0)), 1, ErrOffset)
	wantItem(t, try(r.item("{x}/a", "1", at), r.item("{x}/a", "2", at)), 1, ErrOrder)
	wantItem(t, try(r.item("{x}/a", "1"), r.item("{x}/a", "1")), 1, ErrUsed)
	wantItem(t, try(r.item("{x}/b", "1"), r.item("{x}/a", "first")), 1, ErrUsed)
	var many []BatchItem
	for i := range 1001 {
		many = append(many, r.item("{x}/b", fmt.Sprint("m", i)))
	}
	if err := try(many...); !errors.Is(err, ErrBatchLimit) {
		t.Errorf("1001 publications: %v", err)
	}
	for c, after := range map[protocol.Channel]uint64{"{x}/a": at, "{x}/b": 0} {
		_, seq := subject.SplitOffset(after)
		if p, err := r.store.LeaderNext(t.Context(), topic(c), subject.Shard(1, c), seq); err != nil || p != nil {
			t.Errorf("something of a refused batch was stored on %s: %v, %v", c, p, err)
		}
	}
	if err := try(many[:1000]...); err != nil {
		t.Errorf("1000 publications: %v", err)
	}
}

// transfer moves something between two channels for ever: each batch expects both as it has read them.
func transfers(t *testing.T, r *rig, workers, each int, meanwhile func()) {
	t.Helper()
	const a, b = protocol.Channel("{bank}/a"), protocol.Channel("{bank}/b")
	var group sync.WaitGroup
	var won, lost, unknown atomic.Int64
	for w := range workers {
		group.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d.%d", w, i)
				for try := 0; ; try++ {
					pa, errA := r.store.Position(t.Context(), topic(a))
					pb, errB := r.store.Position(t.Context(), topic(b))
					if errA != nil || errB != nil {
						<-time.After(20 * time.Millisecond)
						continue
					}
					_, err := r.PublishBatch(t.Context(), []BatchItem{r.item(a, id, pa.Offset), r.item(b, id, pb.Offset)})
					if err == nil {
						won.Add(1)
						break
					}
					if errors.Is(err, ErrOffset) {
						lost.Add(1)
					} else {
						unknown.Add(1)
					}
				}
			}
		})
	}
	if meanwhile != nil {
		meanwhile()
	}
	group.Wait()
	ids := func(c protocol.Channel) (out []string) {
		// Any replica may answer, also one that lags after an election: it has them all in the end.
		natstest.Eventually(t, "all of "+string(c), func() bool {
			pubs, err := r.store.Since(t.Context(), topic(c), subject.Shard(1, c), time.Now().Add(-time.Hour), 100000)
			out = out[:0]
			for _, p := range pubs {
				out = append(out, p.ID)
			}
			return err == nil && len(out) >= workers*each
		})
		return out
	}
	inA, inB := ids(a), ids(b)
	if len(inA) != workers*each || strings.Join(inA, " ") != strings.Join(inB, " ") {
		t.Errorf("%d and %d stored, want %d in both, in one order", len(inA), len(inB), workers*each)
	}
	t.Logf("%d stored, %d lost a race, %d unclear", won.Load(), lost.Load(), unknown.Load())
}

// TestBatchRaces: of batches that expect the same offsets one wins, and both channels tell the same story.
func TestBatchRaces(t *testing.T) { transfers(t, solo(t), 4, 15, nil) }

// TestBatchRestart is the same while the broker restarts.
func TestBatchRestart(t *testing.T) {
	server := natstest.Single(t)
	r := newRig(t, "node0001", ConnectOptions{URLs: []string{server.URL()}}, 1)
	transfers(t, r, 3, 40, func() {
		for range 2 {
			was := uint64(0)
			natstest.Eventually(t, "some batches", func() bool {
				p, err := r.store.Position(t.Context(), topic("{bank}/a"))
				if was == 0 && err == nil {
					was = max(p.Offset, 1)
				}
				return err == nil && p.Offset > was
			})
			server.Stop()
			server.Start(t)
		}
	})
}

// TestBatchCluster is the same while the stream's leader dies.
func TestBatchCluster(t *testing.T) {
	cluster := natstest.NewCluster(t, 3)
	r := newRig(t, "node0001", ConnectOptions{URLs: cluster.URLs()}, 3)
	transfers(t, r, 3, 30, func() {
		natstest.Eventually(t, "some batches", func() bool { return r.newest("{bank}/a") > 0 })
		cluster.WaitLeader(t, subject.Stream(subject.Shard(1, "{bank}"))).Stop()
	})
}
