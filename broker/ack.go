package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// pubAck is JetStream's answer to a publish.
type pubAck struct {
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Error     *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// Error codes of JetStream.
const (
	codeWrongLast         = 10071
	codeWrongLastConstant = 10164
	codeDuplicateUnderWay = 10158
)

// parseAck reads an acknowledgement. The common one, {"stream":"X","seq":7}, without a JSON decoder.
func parseAck(b []byte) (a pubAck, err error) {
	if i := bytes.LastIndex(b, []byte(`"seq":`)); i >= 0 && bytes.HasPrefix(b, []byte(`{"stream":"`+streamStart)) {
		digits, rest, ok := bytes.Cut(b[i+len(`"seq":`):], []byte("}"))
		if ok && len(rest) == 0 {
			if a.Seq, err = strconv.ParseUint(string(digits), 10, 64); err == nil {
				return a, nil
			}
		}
	}
	a = pubAck{}
	err = json.Unmarshal(b, &a)
	return a, err //nolint:wrapcheck // the caller adds the context
}

const streamStart = "FANFARE_HISTORY_"

// acknowledged handles an answer to a publish.
func (s *sender) acknowledged(ctx context.Context, m *nats.Msg) {
	if len(m.Subject) <= len(s.prefix) {
		return
	}
	token, err := strconv.ParseUint(m.Subject[len(s.prefix):], 36, 64)
	p := s.wait[token]
	if err != nil || p == nil {
		return // answered before: the acknowledgement of an earlier attempt
	}
	if m.Header.Get("Status") == "503" { // nobody takes the subject in: the stream has no leader
		s.again(p)
		return
	}
	a, err := parseAck(m.Data)
	switch {
	case err != nil:
		s.finish(p, protocol.Receipt{}, fmt.Errorf("%w: %w", ErrRefused, err))
	case a.Error == nil && a.Seq > 0:
		s.alive(p.shard)
		s.finish(p, s.receipt(p, a.Seq, a.Duplicate), nil)
	case a.Error == nil:
		s.finish(p, protocol.Receipt{}, fmt.Errorf("%w: acknowledgement without a sequence", ErrRefused))
	case a.Error.ErrCode == codeWrongLast || a.Error.ErrCode == codeWrongLastConstant:
		s.alive(p.shard)
		s.conflict(ctx, p)
	case a.Error.Code == 503 || a.Error.Code == 429 || a.Error.Code == 408 || a.Error.ErrCode == codeDuplicateUnderWay:
		s.again(p)
	default:
		s.finish(p, protocol.Receipt{}, fmt.Errorf("%w: %s (%d)", ErrRefused, a.Error.Description, a.Error.ErrCode))
	}
}

func (s *sender) receipt(p *pending, seq uint64, duplicate bool) protocol.Receipt {
	return protocol.Receipt{
		ID:        p.p.ID,
		Position:  protocol.Position{Epoch: s.b.o.Backfill.Epoch(p.shard), Offset: subject.Offset(p.shard, seq)},
		Duplicate: duplicate,
	}
}

// again plans another attempt with the same id.
func (s *sender) again(p *pending) {
	s.silent(p)
	if p.waiting {
		return
	}
	attempts := time.Since(p.began)
	p.backoff = min(max(firstBackoff, attempts/4), lastBackoff)
	s.later(p, time.Now().Add(jitter(p.backoff)))
}

// alive notes that a stream acknowledges; what waits for it tries soon.
func (s *sender) alive(shard int) { s.down[shard].down = false }

// conflict answers a publication whose expected offset is not the newest. JetStream looks at that before it looks
// for duplicates, so the newest one may be this very publication, sent before.
func (s *sender) conflict(ctx context.Context, p *pending) {
	topic := protocol.Topic{Server: p.p.Server, Channel: p.p.Channel}
	// The lane waits no longer: whatever the outcome, it is decided.
	done := p.done
	p.done = func(protocol.Receipt, error) {}
	s.checks.Go(func() {
		look, cancel := context.WithTimeout(ctx, confirmWait)
		defer cancel()
		next, err := s.b.o.Backfill.LeaderNext(look, topic, p.shard, p.expect)
		switch {
		case err == nil && next != nil && next.ID == p.p.ID && next.Kind != 0:
			_, seq := subject.SplitOffset(next.Offset)
			done(s.receipt(p, seq, true), nil)
		case err != nil:
			done(protocol.Receipt{}, protocol.ErrUnknownOutcome)
		default:
			done(protocol.Receipt{}, ErrOffset)
		}
	})
	s.finish(p, protocol.Receipt{}, ErrOffset)
}

// resultOf is the label of an outcome.
func resultOf(r protocol.Receipt, err error) string {
	switch {
	case err == nil && r.Duplicate:
		return "duplicate"
	case err == nil:
		return "ok"
	case errors.Is(err, ErrOffset):
		return "conflict"
	case errors.Is(err, protocol.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, protocol.ErrUnknownOutcome):
		return "unknown"
	case errors.Is(err, protocol.ErrOverloaded):
		return "overloaded"
	}
	return "refused"
}
