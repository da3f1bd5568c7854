package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/envelope"
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Headers of JetStream's atomic batches.
const (
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// Error codes of JetStream about batches.
const (
	codeBatchIncomplete = 10176 // the leader changed, or an earlier message of it was refused
	codeBatchTooLarge   = 10199
	codeBatchDuplicate  = 10201
	codeBatchInFlight   = 10210
)

const (
	maxBatches = 32              // under way at once: a stream takes 50, of all gateways together
	batchWait  = 4 * time.Second // for the acknowledgement of a batch
	// usedWithin is how far back a publication is looked for whose ID JetStream knows: its window for duplicates
	// and what a repeated attempt may take.
	usedWithin = 45 * time.Second
	usedTries  = 20 // looks at a replica that may lag
	usedMost   = 20000
)

// BatchItem is one publication of an atomic batch.
type BatchItem struct {
	Publication *protocol.Publication
	// Expect is the newest stored offset that the channel must have (0: nothing is stored); nil = any.
	Expect *uint64
}

// ItemError says which publication made a batch fail.
type ItemError struct {
	Index int
	Err   error
}

// Error makes it an error.
func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }

// Unwrap gives the item's own error.
func (e *ItemError) Unwrap() error { return e.Err }

// PublishBatch stores all publications or none; they stand in the stream one behind the other. All channels must
// live in one shard (subject.Shard). It returns when that is decided, with a receipt for each, and is tried again with
// the same message ids until the deadline. A batch whose publications have all been stored before is answered with
// the receipts of then.
//
// Errors: *ItemError around ErrSpread, ErrOffset, ErrUsed or ErrOrder; ErrBatchLimit; and those of Publish.
func (b *Broker) PublishBatch(ctx context.Context, items []BatchItem) (receipts []protocol.Receipt, err error) {
	if len(items) == 0 {
		return nil, nil
	}
	defer func() {
		for i := range items {
			var r protocol.Receipt
			if err == nil {
				r = receipts[i]
			}
			b.metrics.published.WithLabelValues("atomic", resultOf(r, err)).Inc()
		}
	}()
	s := b.sender
	select {
	case b.batches <- struct{}{}:
		defer func() { <-b.batches }()
	default:
		return nil, protocol.ErrOverloaded
	}
	if s.offline() {
		return nil, protocol.ErrUnavailable
	}
	batch, err := s.newAtomic(items)
	if err != nil {
		return nil, err
	}
	if !s.reserve(batch.size) {
		return nil, protocol.ErrOverloaded
	}
	defer s.release(batch.size)
	ctx, cancel := context.WithTimeout(ctx, b.o.Deadline)
	defer cancel()
	return batch.store(ctx)
}

// atomicBatch is a batch under way.
type atomicBatch struct {
	s     *sender
	items []BatchItem
	msgs  []*nats.Msg
	shard int
	size  int64
}

func (s *sender) newAtomic(items []BatchItem) (*atomicBatch, error) {
	a := &atomicBatch{s: s, items: items, shard: subject.Shard(items[0].Publication.Server, items[0].Publication.Channel)}
	ids := make(map[string]bool, len(items))
	written := make(map[string]bool, len(items))
	for i, item := range items {
		p := item.Publication
		bad := func(err error) error { return &ItemError{Index: i, Err: err} }
		if err := subject.Check(p.Channel); err != nil {
			return nil, bad(fmt.Errorf("%w: %w", ErrRefused, err))
		}
		if subject.Shard(p.Server, p.Channel) != a.shard {
			return nil, bad(ErrSpread)
		}
		id := messageID(p)
		if ids[id] {
			return nil, bad(ErrUsed)
		}
		ids[id] = true
		m := &nats.Msg{
			Subject: subject.Stored(p.Server, p.Channel), Data: envelope.Append(make([]byte, 0, envelope.Size(p)), p),
			Header: nats.Header{headerID: {id}, headerBatchSeq: {strconv.Itoa(i + 1)}},
		}
		if p.TTL > 0 {
			m.Header[headerTTL] = []string{strconv.FormatInt(int64((p.TTL+time.Second-1)/time.Second), 10)}
		}
		if item.Expect != nil {
			shard, seq := subject.SplitOffset(*item.Expect)
			switch {
			case written[m.Subject]:
				return nil, bad(ErrOrder)
			case *item.Expect > 0 && shard != a.shard:
				return nil, bad(ErrOffset)
			}
			m.Header[headerExpect] = []string{strconv.FormatUint(seq, 10)}
		}
		written[m.Subject] = true
		if limit := s.nc.MaxPayload(); limit > 0 && int64(len(m.Data)) > limit {
			return nil, bad(tooLarge(limit))
		}
		a.size += int64(len(m.Data))
		a.msgs = append(a.msgs, m)
	}
	a.msgs[len(a.msgs)-1].Header[headerBatchCommit] = []string{"1"}
	return a, nil
}

// errAgain wraps what a further attempt may cure.
var errAgain = errors.New("not decided")

// store tries until the outcome is known.
func (a *atomicBatch) store(ctx context.Context) ([]protocol.Receipt, error) {
	sent := false
	for pause := firstBackoff; ; pause = min(2*pause, lastBackoff) {
		seq, out, err := a.attempt(ctx)
		switch {
		case err == nil:
			return a.receipts(func(i int) uint64 { return seq + uint64(i) }, false), nil
		case out == codeBatchDuplicate:
			return a.used(ctx)
		case out == codeWrongLast:
			return nil, a.conflict(ctx)
		case !errors.Is(err, errAgain):
			return nil, err
		}
		sent = sent || out == 0 // no answer: it may have been stored
		if out != 0 || a.s.nc.IsConnected() {
			a.s.b.metrics.retries.Inc()
		}
		t := time.NewTimer(jitter(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			if sent {
				return nil, protocol.ErrUnknownOutcome
			}
			return nil, protocol.ErrUnavailable
		case <-t.C:
		}
	}
}

// attempt sends the batch once, under a name of its own: what an earlier attempt left unfinished is dropped by the
// broker. It gives the sequence of the first message, or the error's code, 0 when there was no answer.
func (a *atomicBatch) attempt(ctx context.Context) (first uint64, code int, err error) {
	if !a.s.nc.IsConnected() {
		return 0, -1, errAgain
	}
	name := nats.NewInbox()[len("_INBOX."):]
	for _, m := range a.msgs {
		m.Header[headerBatch] = []string{name}
	}
	ctx, cancel := context.WithTimeout(ctx, batchWait)
	defer cancel()
	last := len(a.msgs) - 1
	for _, m := range a.msgs[:last] {
		if err := a.s.nc.PublishMsg(m); err != nil {
			return 0, -1, errAgain
		}
	}
	answer, err := a.s.nc.RequestMsgWithContext(ctx, a.msgs[last])
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return 0, -1, errAgain
	case err != nil:
		return 0, 0, errAgain
	}
	ack, err := parseAck(answer.Data)
	switch {
	case err != nil:
		return 0, 0, errAgain
	case ack.Error == nil && ack.Seq >= uint64(len(a.msgs)):
		return ack.Seq - uint64(last), 0, nil
	case ack.Error == nil:
		return 0, 0, fmt.Errorf("%w: acknowledgement without a sequence", ErrRefused)
	}
	code = ack.Error.ErrCode
	switch {
	case code == codeBatchTooLarge:
		return 0, code, ErrBatchLimit
	case code == codeBatchIncomplete, code == codeBatchInFlight, code == codeDuplicateUnderWay, code == codeWrongLastConstant,
		ack.Error.Code == 503, ack.Error.Code == 429, ack.Error.Code == 408:
		return 0, code, errAgain
	}
	return 0, code, fmt.Errorf("%w: %s (%d)", ErrRefused, ack.Error.Description, code)
}

func (a *atomicBatch) receipts(seq func(int) uint64, duplicate bool) []protocol.Receipt {
	out := make([]protocol.Receipt, len(a.items))
	epoch := a.s.b.o.Backfill.Epoch(a.shard)
	for i := range out {
		out[i] = protocol.Receipt{
			ID: a.items[i].Publication.ID, Duplicate: duplicate,
			Position: protocol.Position{Epoch: epoch, Offset: subject.Offset(a.shard, seq(i))},
		}
	}
	return out
}

// used finds the publications of which JetStream says that some were stored before: all of them by this batch, whose
// acknowledgement was lost or which is repeated, or only some.
func (a *atomicBatch) used(ctx context.Context) ([]protocol.Receipt, error) {
	since := time.Now().Add(-usedWithin)
	for try := 0; ; try++ {
		seqs, missing, err := a.find(ctx, since)
		switch {
		case err == nil && missing < 0:
			return a.receipts(func(i int) uint64 { return seqs[i] }, true), nil
		case err == nil && try >= usedTries:
			for i := range seqs {
				if seqs[i] > 0 {
					return nil, &ItemError{Index: i, Err: ErrUsed}
				}
			}
			return nil, ErrUsed
		}
		t := time.NewTimer(firstBackoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, protocol.ErrUnknownOutcome
		case <-t.C:
		}
	}
}

// find gives the sequences of the publications that are there, and one that is not, or -1.
func (a *atomicBatch) find(ctx context.Context, since time.Time) (seqs []uint64, missing int, err error) {
	found := map[protocol.Channel]map[string]uint64{}
	seqs, missing = make([]uint64, len(a.items)), -1
	for i, item := range a.items {
		p := item.Publication
		ids := found[p.Channel]
		if ids == nil {
			pubs, err := a.s.b.o.Backfill.Since(ctx, protocol.Topic{Server: p.Server, Channel: p.Channel}, a.shard, since, usedMost)
			if err != nil {
				return nil, 0, fmt.Errorf("look for publications: %w", err)
			}
			ids = make(map[string]uint64, len(pubs))
			for _, q := range pubs {
				_, ids[q.ID] = subject.SplitOffset(q.Offset)
			}
			found[p.Channel] = ids
		}
		if seqs[i] = ids[p.ID]; seqs[i] == 0 {
			missing = i
		}
	}
	return seqs, missing, nil
}

// conflict finds the publication whose expectation was wrong.
func (a *atomicBatch) conflict(ctx context.Context) error {
	only := -1
	for i, item := range a.items {
		if item.Expect == nil {
			continue
		}
		p := item.Publication
		_, seq := subject.SplitOffset(*item.Expect)
		next, err := a.s.b.o.Backfill.LeaderNext(ctx, protocol.Topic{Server: p.Server, Channel: p.Channel}, a.shard, seq)
		if err == nil && next != nil {
			return &ItemError{Index: i, Err: ErrOffset}
		}
		only = i // what was expected is gone, or newer than anything there
	}
	return &ItemError{Index: only, Err: ErrOffset}
}
