package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
)

// Bounds of direct reads.
const (
	maxReads  = 32      // under way at once
	pageSize  = 256     // messages in one answer
	pageBytes = 1 << 20 // bytes in one answer
)

// query is a direct read of several messages; the JSON is that of the JetStream API.
type query struct {
	Next      string     `json:"next_by_subj,omitempty"`
	Seq       uint64     `json:"seq,omitempty"`
	Start     *time.Time `json:"start_time,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	Last      string     `json:"last_by_subj,omitempty"` // leader reads only
}

// end is what closes the answer to a batch.
type end struct {
	pending uint64 // how many more there are
	last    uint64 // sequence of the last message sent
	upTo    uint64 // of multi_last: the replica's last sequence
}

// acquire takes a read slot and chooses a connection.
func (s *Store) acquire(ctx context.Context) (*nats.Conn, func(), error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	nc := s.o.Reads[int(s.turn.Add(1))%len(s.o.Reads)]
	return nc, func() { <-s.slots }, nil
}

// observe notes how a request went.
func (s *Store) observe(kind string, begin time.Time, err error) {
	s.metrics.reads.WithLabelValues(kind).Observe(time.Since(begin).Seconds())
	if err != nil {
		s.metrics.failed.WithLabelValues(kind).Inc()
	}
}

// newest reads the newest message of a subject from any replica; ok is false when there is none.
func (s *Store) newest(ctx context.Context, shard int, subj string) (e entry, ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	nc, release, err := s.acquire(ctx)
	if err != nil {
		return e, false, err
	}
	defer release()
	defer func(begin time.Time) { s.observe("newest", begin, err) }(time.Now())
	m, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+subject.Stream(shard)+"."+subj, nil)
	if err != nil {
		return e, false, unavailable(err)
	}
	switch status := m.Header.Get(headerStatus); status {
	case "":
		e, ok = readEntry(shard, m)
		return e, ok, nil
	case "404":
		return e, false, nil
	default:
		return e, false, fmt.Errorf("%w: status %s", ErrRefused, status)
	}
}

// batch sends a direct read and gives every message of the answer to each. A 404 is an empty answer.
func (s *Store) batch(ctx context.Context, kind string, shard int, q query, room int, each func(*nats.Msg)) (fin end, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	nc, release, err := s.acquire(ctx)
	if err != nil {
		return fin, err
	}
	defer release()
	defer func(begin time.Time) { s.observe(kind, begin, err) }(time.Now())
	q.MaxBytes = pageBytes
	body, err := json.Marshal(q)
	if err != nil {
		return fin, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	inbox := nc.NewInbox()
	answers := make(chan *nats.Msg, room+2)
	sub, err := nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return fin, unavailable(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+subject.Stream(shard), inbox, body); err != nil {
		return fin, unavailable(err)
	}
	for {
		select {
		case <-ctx.Done():
			return fin, unavailable(context.Cause(ctx))
		case m := <-answers:
			switch status := m.Header.Get(headerStatus); status {
			case "":
				each(m)
			case "204":
				return end{pending: number(m.Header, headerPending), last: number(m.Header, headerLast), upTo: number(m.Header, headerUpTo)}, nil
			case "404":
				return fin, nil
			case "413":
				return fin, errTooMany
			case "503":
				return fin, unavailable(nats.ErrNoResponders)
			default:
				return fin, fmt.Errorf("%w: status %s", ErrRefused, status)
			}
		}
	}
}

// apiError is an error of the JetStream API.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

const codeNoMessage = 10037

// api sends a request to the JetStream API, which the leader answers.
func (s *Store) api(ctx context.Context, kind, verb, stream string, body, answer any) (err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer func(begin time.Time) { s.observe(kind, begin, err) }(time.Now())
	var b []byte
	if body != nil {
		if b, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	m, err := s.o.Control.RequestWithContext(ctx, "$JS.API."+verb+"."+stream, b)
	if err != nil {
		return unavailable(err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

func (e *apiError) err() error {
	if e.Code == 503 || e.Code == 408 {
		return fmt.Errorf("%w: %s", ErrUnavailable, e.Description)
	}
	return fmt.Errorf("%w: %s (%d)", ErrRefused, e.Description, e.ErrCode)
}

// streamInfo is what we read of STREAM.INFO.
type streamInfo struct {
	Created time.Time `json:"created"`
	State   struct {
		FirstSeq   uint64            `json:"first_seq"`
		LastSeq    uint64            `json:"last_seq"`
		NumDeleted uint64            `json:"num_deleted"`
		Subjects   map[string]uint64 `json:"subjects"` // messages by subject, when asked for
	} `json:"state"`
}

func (s *Store) info(ctx context.Context, shard int) (streamInfo, error) {
	return s.infoOf(ctx, shard, nil)
}

// subjectsRequest asks for the subjects that match a filter, up to 100 000 from an offset on.
type subjectsRequest struct {
	Filter string `json:"subjects_filter"`
	Offset int    `json:"offset,omitempty"`
}

func (s *Store) infoOf(ctx context.Context, shard int, body any) (streamInfo, error) {
	var answer struct {
		streamInfo
		Error *apiError `json:"error"`
	}
	if err := s.api(ctx, "info", "STREAM.INFO", subject.Stream(shard), body, &answer); err != nil {
		return streamInfo{}, err
	}
	if answer.Error != nil {
		return streamInfo{}, answer.Error.err()
	}
	return answer.streamInfo, nil
}

// leader reads one message as the stream's leader knows it; ok is false when there is none.
func (s *Store) leader(ctx context.Context, shard int, q query) (e entry, ok bool, err error) {
	var answer struct {
		Message struct {
			Seq  uint64    `json:"seq"`
			Data []byte    `json:"data"`
			Time time.Time `json:"time"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	if err := s.api(ctx, "leader", "STREAM.MSG.GET", subject.Stream(shard), q, &answer); err != nil {
		return e, false, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrCode == codeNoMessage:
		return e, false, nil
	case answer.Error != nil:
		return e, false, answer.Error.err()
	}
	m := answer.Message
	s.saw(shard, m.Seq)
	return entry{seq: m.Seq, stored: m.Time, pub: decode(shard, m.Seq, m.Data)}, m.Seq > 0, nil
}

func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// label makes a bool a metric's label.
func label(b bool) string { return strconv.FormatBool(b) }
