package presence

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// record is one message of a bucket, read or republished.
type record struct {
	key   string
	value []byte
	seq   uint64
	at    time.Time
	grace time.Duration
	op    op
}

type op uint8

const (
	opPut     op = iota
	opLeaving    // put, with grace
	opRemove     // tombstone or marker
)

// maxGrace bounds what a header may ask for.
const maxGrace = 10 * time.Minute

// liveRecord reads a republished message whose subject begins with prefix.
func liveRecord(m *nats.Msg, prefix string) (record, bool) {
	k, ok := strings.CutPrefix(m.Subject, prefix)
	if !ok {
		return record{}, false
	}
	return readRecord(m, k)
}

// storedRecord reads a message out of a stream whose subjects begin with prefix.
func storedRecord(m *nats.Msg, prefix string) (record, bool) {
	k, ok := strings.CutPrefix(m.Header.Get("Nats-Subject"), prefix)
	if !ok {
		return record{}, false
	}
	return readRecord(m, k)
}

func readRecord(m *nats.Msg, k string) (record, bool) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil || seq == 0 {
		return record{}, false
	}
	r := record{key: k, seq: seq, value: m.Data}
	readOp(&r, m.Header)
	return r, true
}

// readOp tells entries, tombstones and markers apart.
func readOp(r *record, h nats.Header) {
	switch {
	case h.Get(headerMarker) != "", h.Get(headerOp) != "":
		r.op, r.value = opRemove, nil
	case h.Get(headerLeaving) != "":
		ms, err := strconv.ParseInt(h.Get(headerLeaving), 10, 64)
		if err != nil || ms < 0 {
			ms = 0
		}
		r.op, r.grace = opLeaving, min(time.Duration(ms)*time.Millisecond, maxGrace)
		if at, err := time.Parse(time.RFC3339Nano, h.Get("Nats-Time-Stamp")); err == nil {
			r.at = at
		}
	}
}
