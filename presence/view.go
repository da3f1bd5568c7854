package presence

import (
	"bytes"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/protocol"
)

// view is what one Watch knows. Owned by the loop, except for the atomics.
type view struct {
	loop    *loop
	topic   protocol.Topic
	sink    Sink
	sub     *nats.Subscription
	head    string // of the keys of a channel; empty for a pattern
	stopped atomic.Bool

	// ready: the first snapshot has been applied; before that nothing is told.
	ready   bool
	entries map[string]*entry // by key, tombstones included
	members map[memberID]*member
	leaving map[user][]leaver // entries that go when their user has come back
	arrived tally             // users who came while a gateway drains, and may have a leave to come
	maxSeq  []uint64          // by shard
	changes []Change          // not told yet
	dropped int               // messages lost by the subscription, as last seen

	at      int // place in the loop's list
	redoing bool
	again   string        // reason for another redo after the one under way
	proved  time.Time     // when the view was last compared with the bucket; zero: not proved
	tried   time.Time     // when it was last attempted
	cost    time.Duration // how long that took
}

type memberID struct {
	channel protocol.Channel
	session protocol.SessionID
}

// entry is one key of the bucket. A session has two while its gateway goes over to a new generation.
type entry struct {
	key    string
	seq    uint64
	peer   *peer
	member *member // nil for our own and for tombstones of unknown entries
	value  []byte
	op     op
	shard  uint8
}

// member is what the sink has been told.
type member struct {
	id      memberID
	entries []*entry
	value   []byte
	told    bool
}

// user is an authenticated user; only those can be recognised when they come back.
type user struct {
	dbo int64
	row protocol.RowID
}

// userOf reads whom an entry belongs to.
func userOf(value []byte) (user, bool) {
	var v struct {
		Permissions struct {
			DboID int64          `json:"dbo_id"`
			RowID protocol.RowID `json:"row_id"`
		} `json:"permissions"`
	}
	if json.Unmarshal(value, &v) != nil || v.Permissions.DboID == 0 || v.Permissions.RowID == "" {
		return user{}, false
	}
	return user{v.Permissions.DboID, v.Permissions.RowID}, true
}

// topicOf names a member's channel.
func topicOf(v *view, id memberID) protocol.Topic {
	return protocol.Topic{Server: v.topic.Server, Channel: id.channel}
}

// parse finds out whose key it is. Keys that do not belong to the view are refused.
func (v *view) parse(k string) (key, bool) {
	if v.head != "" {
		if len(k) <= len(v.head) || k[:len(v.head)] != v.head {
			return key{}, false
		}
		gw, session, err := parseTail(k[len(v.head):])
		return key{v.topic.Server, v.topic.Channel, gw, session}, err == nil
	}
	p, err := parseKey(k)
	return p, err == nil && p.server == v.topic.Server && v.topic.Channel.Covers(p.channel)
}

// settle tells the sink what has changed about a member.
func (v *view) settle(m *member) {
	var best *entry
	n := 0
	for _, e := range m.entries {
		if e.member != m {
			continue
		}
		m.entries[n] = e
		n++
		if e.op == opLeaving || e.op == opPut && e.peer.shown() {
			if best == nil || e.seq > best.seq {
				best = e
			}
		}
	}
	clear(m.entries[n:])
	m.entries = m.entries[:n]
	if n == 0 {
		delete(v.members, m.id)
	}
	if !v.ready {
		return
	}
	switch {
	case best == nil && m.told:
		v.change(Leave, m, m.value)
		m.told, m.value = false, nil
	case best != nil && !m.told:
		m.told, m.value = true, best.value
		v.change(Join, m, m.value)
	case best != nil && !bytes.Equal(best.value, m.value):
		m.value = best.value
		v.change(Update, m, m.value)
	}
}

func (v *view) change(k ChangeKind, m *member, value []byte) {
	if len(v.changes) == 0 {
		v.loop.touched = append(v.loop.touched, v)
	}
	v.changes = append(v.changes, Change{Kind: k, Channel: m.id.channel, Session: m.id.session, Value: value})
}

// settleAll settles every member with an entry of the given gateway, or all.
func (v *view) settleAll(of *peer) {
	for _, m := range v.members {
		if of == nil {
			v.settle(m)
			continue
		}
		for _, e := range m.entries {
			if e.peer == of {
				v.settle(m)
				break
			}
		}
	}
}
