package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// maxMulti is how many entries the broker gives in one consistent answer (413 beyond).
	maxMulti = 1024
	// pageEntries and pageBytes bound one page of a longer read; the broker sends a page without flow control. For
	// each page it counts what is left, so small ones would make the whole quadratic.
	pageEntries = 8192
	pageBytes   = 4 << 20
	// multiBytes bounds a consistent answer; larger channels are read in pages.
	multiBytes = 8 << 20
	// readTimeout is how long the broker may be silent within an answer, pageTimeout before and within a page.
	readTimeout = 2 * time.Second
	pageTimeout = 5 * time.Second
)

// directRequest asks any replica of a stream.
type directRequest struct {
	Seq       uint64   `json:"seq,omitempty"`
	NextFor   string   `json:"next_by_subj,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	MaxBytes  int      `json:"max_bytes,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
}

// answers takes the messages of direct reads apart: one inbox for all reads, a token for each.
type answers struct {
	inbox string
	sub   *nats.Subscription

	mu      sync.Mutex
	next    uint64
	waiting map[string]chan *nats.Msg
}

func listen(nc *nats.Conn) (*answers, error) {
	a := &answers{inbox: nc.NewInbox() + ".", waiting: make(map[string]chan *nats.Msg)}
	sub, err := nc.Subscribe(a.inbox+"*", a.take)
	if err != nil {
		return nil, fmt.Errorf("presence reads: %w", err)
	}
	// A read's own limits bound what can be under way; the default of the client must not cut answers short.
	if err := sub.SetPendingLimits(-1, 256<<20); err != nil {
		return nil, fmt.Errorf("presence reads: %w", err)
	}
	a.sub = sub
	return a, nil
}

func (a *answers) take(m *nats.Msg) {
	a.mu.Lock()
	c := a.waiting[m.Subject]
	a.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c <- m:
	default: // more than was asked for
	}
}

func (a *answers) open(most int) (reply string, c chan *nats.Msg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	reply = a.inbox + strconv.FormatUint(a.next, 36)
	c = make(chan *nats.Msg, most+1)
	a.waiting[reply] = c
	return reply, c
}

func (a *answers) close(reply string) {
	a.mu.Lock()
	delete(a.waiting, reply)
	a.mu.Unlock()
}

// answer is the result of a direct read.
type answer struct {
	records []record
	upTo    uint64 // the stream's last sequence as the replica had it; only of multi-last reads
	pending uint64 // how many more match
}

// direct reads from any replica of a stream. No match is errNotFound, too many are errTooMany.
func (d *Directory) direct(ctx context.Context, stream, prefix string, q directRequest) (answer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return answer{}, fmt.Errorf("read %s: %w", stream, err)
	}
	reply, c := d.answers.open(max(q.Batch, maxMulti))
	defer d.answers.close(reply)
	if err := d.o.Conn.PublishRequest("$JS.API.DIRECT.GET."+stream, reply, body); err != nil {
		return answer{}, fmt.Errorf("read %s: %w", stream, err)
	}
	silence := readTimeout
	if q.Batch > 0 {
		silence = pageTimeout
	}
	timeout := time.NewTimer(silence)
	defer timeout.Stop()
	var a answer
	for {
		var m *nats.Msg
		select {
		case m = <-c:
		case <-timeout.C:
			return answer{}, fmt.Errorf("read %s: %w", stream, nats.ErrTimeout)
		case <-ctx.Done():
			return answer{}, fmt.Errorf("read %s: %w", stream, ctx.Err())
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			if r, ok := storedRecord(m, prefix); ok {
				a.records = append(a.records, r)
			}
			timeout.Reset(silence)
		case "204":
			a.pending, _ = strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64)
			a.upTo, _ = strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64)
			return a, nil
		case "404":
			return answer{}, errNotFound
		case "413":
			return answer{}, errTooMany
		default:
			return answer{}, fmt.Errorf("read %s: broker says %s %s", stream, status, m.Header.Get("Description"))
		}
	}
}

// leaderGet reads the last message of a subject from the stream's leader: what it says is so.
func (d *Directory) leaderGet(ctx context.Context, stream, subject string) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w", subject, err)
	}
	m, err := d.o.Conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w", subject, err)
	}
	var r struct {
		Message *struct {
			Seq  uint64 `json:"seq"`
			Hdrs []byte `json:"hdrs"`
			Data []byte `json:"data"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return record{}, fmt.Errorf("read %s: %w", subject, err)
	}
	switch {
	case r.Error != nil && r.Error.Code == 404 && r.Error.ErrCode != 10059: // 10059: no such stream
		return record{}, errNotFound
	case r.Error != nil:
		return record{}, fmt.Errorf("read %s: %w", subject, r.Error)
	case r.Message == nil:
		return record{}, errNotFound
	}
	rec := record{key: subject, seq: r.Message.Seq, value: r.Message.Data}
	if len(r.Message.Hdrs) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Hdrs)
		if err != nil {
			return record{}, fmt.Errorf("read %s: %w", subject, err)
		}
		readOp(&rec, h)
	}
	return rec, nil
}

// readAll reads all entries of a filter in one shard from a state of the stream that is not older than a
// barrier this gateway puts into it: nothing that was acknowledged before the call is missing. Without a
// provable answer within the time of prove it gives what there is, with barrier 0.
//
// Up to 1023 entries come out of one consistent state. More come in pages: then an entry that changes while
// the pages are read may be missing (whole is false); its change comes live.
func (d *Directory) readAll(ctx, prove context.Context, shard int, filter string) (reading, error) {
	barrier, err := d.barriers[shard].pass(prove)
	if err != nil && ctx.Err() != nil {
		return reading{}, ctx.Err()
	}
	prefix := bucketPrefix(shard)
	filters := []string{prefix + filter, prefix + barrierKey + string(d.o.Node)}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		a, err := d.direct(ctx, stream(shard), prefix, directRequest{MultiLast: filters, MaxBytes: multiBytes})
		switch {
		case errors.Is(err, errTooMany), err == nil && a.pending > 0:
			return d.readPages(ctx, prove, shard, filter)
		case err == nil && a.upTo >= barrier:
			return reading{records: entries(a.records), shard: shard, barrier: barrier, upTo: a.upTo, whole: true}, nil
		case errors.Is(err, errNotFound) && barrier == 0:
			return reading{shard: shard, whole: true}, nil
		}
		if err := wait(ctx, pause); err != nil { // a replica that is behind, or no broker
			return reading{}, err
		}
		if barrier > 0 && prove.Err() != nil {
			barrier = 0
		}
	}
}

// reading is what readAll found.
type reading struct {
	records []record
	shard   int
	// barrier is the sequence of our barrier; 0 means that the reading may be old.
	barrier uint64
	upTo    uint64
	whole   bool
}

// readPages reads entries in the order of their sequences until it meets a barrier of its own under the same
// filter. Whatever replica answers a page, it has everything up to the last entry it gives; so up to the
// barrier nothing is missing but what has moved behind it meanwhile.
func (d *Directory) readPages(ctx, prove context.Context, shard int, filter string) (reading, error) {
	prefix := bucketPrefix(shard)
	base := strings.TrimSuffix(strings.TrimSuffix(filter, ">"), "=.")
	barrier, err := d.putBarrier(prove, shard, base+"=."+barrierKey+string(d.o.Node))
	if err != nil && ctx.Err() != nil {
		return reading{}, ctx.Err()
	}
	r := reading{shard: shard, barrier: barrier}
	seq, pause, size := uint64(0), 2*time.Millisecond, pageEntries
	for {
		a, err := d.direct(ctx, stream(shard), prefix, directRequest{Seq: seq, NextFor: prefix + filter, Batch: size, MaxBytes: pageBytes})
		switch {
		case errors.Is(err, nats.ErrTimeout):
			size = max(size/2, maxSnapshot)
		case err == nil:
			pause = 2 * time.Millisecond
			r.records = append(r.records, entries(a.records)...)
			if n := len(a.records); n > 0 {
				seq = a.records[n-1].seq + 1
			}
			if r.barrier > 0 && seq > r.barrier || r.barrier == 0 && a.pending == 0 {
				r.upTo = r.barrier
				return r, nil
			}
			if a.pending > 0 {
				continue
			}
		case errors.Is(err, errNotFound) && r.barrier == 0:
			return r, nil
		}
		if err := wait(ctx, pause); err != nil {
			return reading{}, err
		}
		pause = min(2*pause, 50*time.Millisecond)
		if r.barrier > 0 && prove.Err() != nil {
			r.barrier = 0
		}
	}
}

// readKeys reads single keys from a state not older than the barrier; what is missing does not exist.
func (d *Directory) readKeys(ctx context.Context, shard int, barrier uint64, keys []string) (reading, error) {
	prefix := bucketPrefix(shard)
	filters := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		filters = append(filters, prefix+k)
	}
	filters = append(filters, prefix+barrierKey+string(d.o.Node))
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		a, err := d.direct(ctx, stream(shard), prefix, directRequest{MultiLast: filters, MaxBytes: 2 * multiBytes})
		if err == nil && a.upTo >= barrier && a.pending == 0 {
			return reading{records: entries(a.records), shard: shard, barrier: barrier, upTo: a.upTo, whole: true}, nil
		}
		if err := wait(ctx, pause); err != nil {
			return reading{}, err
		}
	}
}

// entries leaves barriers out.
func entries(all []record) []record {
	n := 0
	for _, r := range all {
		if !strings.HasPrefix(r.key, barrierKey) && !strings.Contains(r.key, end+barrierKey) {
			all[n] = r
			n++
		}
	}
	return all[:n]
}
