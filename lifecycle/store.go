package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	headerExpect   = "Nats-Expected-Last-Subject-Sequence"
	headerStatus   = "Status"
	headerSubject  = "Nats-Subject"
	headerSequence = "Nats-Sequence"
	headerTime     = "Nats-Time-Stamp"
	headerPending  = "Nats-Num-Pending"

	errWrongLast   = 10071
	errWrongLast2  = 10164
	errNoMessage   = 10037
	requestTimeout = 2 * time.Second
	pageMessages   = 256
	pageBytes      = 1 << 20
)

var errMoved = errors.New("somebody else has written here")

type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// put stores a body if the subject's last message is expect, and gives its sequence. errMoved: it is not.
func (l *Log) put(ctx context.Context, subject string, body []byte, expect uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{headerExpect: {strconv.FormatUint(expect, 10)}}}
	answer, err := l.o.Control.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var ack struct {
		Seq   uint64    `json:"seq"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch {
	case ack.Error == nil && ack.Seq > 0:
		return ack.Seq, nil
	case ack.Error != nil && ack.Error.ErrCode == errWrongLast:
		return 0, errMoved
	case ack.Error != nil && ack.Error.ErrCode == errWrongLast2: // another write is under way: which one, is known soon
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ack.Error)
	case ack.Error != nil:
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ack.Error)
	}
	return 0, fmt.Errorf("%w: acknowledgement without a sequence", ErrUnavailable)
}

// stored is a message as it stands in the stream.
type stored struct {
	subject string
	seq     uint64
	at      time.Time
	body    []byte
}

// last reads the newest message of a subject as the leader knows it; ok is false when there is none.
func (l *Log) last(ctx context.Context, subject string) (m stored, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return m, false, fmt.Errorf("lifecycle: %w", err)
	}
	answer, err := l.o.Control.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+streamName, body)
	if err != nil {
		return m, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var got struct {
		Message struct {
			Seq  uint64    `json:"seq"`
			Data []byte    `json:"data"`
			Time time.Time `json:"time"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return m, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch {
	case got.Error != nil && got.Error.ErrCode == errNoMessage:
		return m, false, nil
	case got.Error != nil:
		return m, false, fmt.Errorf("%w: %w", ErrUnavailable, got.Error)
	}
	return stored{subject: subject, seq: got.Message.Seq, at: got.Message.Time, body: got.Message.Data}, true, nil
}

// page reads messages of a filter from a sequence on, from any replica: what it gives has no holes, but may end
// early. Without a sequence it begins at a moment; with neither, at the first one. more: there are others behind.
func (l *Log) page(ctx context.Context, filter string, from uint64, since time.Time) (out []stored, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request := map[string]any{"next_by_subj": filter, "batch": pageMessages, "max_bytes": pageBytes}
	if from == 0 && !since.IsZero() {
		request["start_time"] = since.UTC()
	} else {
		request["seq"] = max(from, 1)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, false, fmt.Errorf("lifecycle: %w", err)
	}
	inbox := l.o.Reads.NewInbox()
	answers := make(chan *nats.Msg, pageMessages+2)
	sub, err := l.o.Reads.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.o.Reads.PublishRequest("$JS.API.DIRECT.GET."+streamName, inbox, body); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		case m := <-answers:
			switch status := m.Header.Get(headerStatus); status {
			case "":
				seq, err := strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
				if err != nil {
					return nil, false, fmt.Errorf("%w: message without a sequence", ErrUnavailable)
				}
				at, _ := time.Parse(time.RFC3339Nano, m.Header.Get(headerTime)) // only an age hangs on it
				out = append(out, stored{subject: m.Header.Get(headerSubject), seq: seq, at: at, body: m.Data})
			case "204":
				return out, len(out) > 0 && m.Header.Get(headerPending) != "0", nil
			case "404":
				return out, false, nil
			default:
				return nil, false, fmt.Errorf("%w: status %s", ErrUnavailable, status)
			}
		}
	}
}

// state is what STREAM.INFO says.
type state struct {
	FirstSeq uint64            `json:"first_seq"`
	LastSeq  uint64            `json:"last_seq"`
	Subjects map[string]uint64 `json:"subjects"`
}

// info asks the leader about the stream; with a filter also which subjects there are.
func (l *Log) info(ctx context.Context, filter string) (state, error) {
	var all state
	for offset := 0; ; {
		request := map[string]any{}
		if filter != "" {
			request["subjects_filter"], request["offset"] = filter, offset
		}
		body, err := json.Marshal(request)
		if err != nil {
			return state{}, fmt.Errorf("lifecycle: %w", err)
		}
		once, cancel := context.WithTimeout(ctx, requestTimeout)
		answer, err := l.o.Control.RequestWithContext(once, "$JS.API.STREAM.INFO."+streamName, body)
		cancel()
		if err != nil {
			return state{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		var got struct {
			Total int       `json:"total"`
			State state     `json:"state"`
			Error *apiError `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &got); err != nil {
			return state{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if got.Error != nil {
			return state{}, fmt.Errorf("%w: %w", ErrUnavailable, got.Error)
		}
		if all.Subjects == nil {
			all = got.State
		} else {
			maps.Copy(all.Subjects, got.State.Subjects)
		}
		offset += len(got.State.Subjects)
		if filter == "" || len(got.State.Subjects) == 0 || offset >= got.Total {
			return all, nil
		}
	}
}
