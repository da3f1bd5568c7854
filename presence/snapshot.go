package presence

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// maxSnapshot bounds one page.
const maxSnapshot = 1000

// Snapshot lists the members of a channel or below a pattern, ours first, at most limit (1000) on a page; after
// is Page.Next of the page before. It is for occasional readers (the HTTP API): pages are read from the bucket
// as it is at the time, so a member whose entry changes between two pages may come twice, and one that joins
// may be missing. ErrCursor: after did not come from here.
func (d *Directory) Snapshot(ctx context.Context, topic protocol.Topic, limit int, after string) (Page, error) {
	if err := subject.Check(topic.Channel); err != nil {
		return Page{}, fmt.Errorf("presence of a channel: %w", err)
	}
	if limit <= 0 || limit > maxSnapshot {
		limit = maxSnapshot
	}
	c, err := parseCursor(after)
	if err != nil {
		return Page{}, err
	}
	if err := d.Ready(ctx); err != nil {
		return Page{}, fmt.Errorf("presence of a channel: %w", err)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	var p Page
	if !c.remote {
		p.Members = d.roster.list(topic, c.channel, c.session, limit)
		if len(p.Members) == limit {
			last := p.Members[limit-1]
			p.Next = cursor{channel: last.Channel, session: last.Session}.String()
			return p, nil
		}
		c = cursor{remote: true}
	}
	select {
	case d.readers <- struct{}{}:
		defer func() { <-d.readers }()
	case <-ctx.Done():
		return Page{}, fmt.Errorf("presence of a channel: %w", context.Cause(ctx))
	}
	for _, shard := range d.shards(topic) {
		if shard < c.shard {
			continue
		}
		if shard > c.shard || c.seq == 0 {
			c.shard, c.seq = shard, 1
		}
		more, err := d.page(ctx, topic, &c, limit, &p)
		if err != nil {
			return Page{}, fmt.Errorf("presence of a channel: %w", err)
		}
		if more {
			p.Next = c.String()
			return p, nil
		}
	}
	return p, nil
}

// page adds members from one shard; more says that the page is full.
func (d *Directory) page(ctx context.Context, topic protocol.Topic, c *cursor, limit int, p *Page) (more bool, err error) {
	prefix := bucketPrefix(c.shard)
	v := &view{topic: topic}
	if !topic.Channel.IsPattern() {
		v.head = head(topic)
	}
	for begun := time.Now(); ; {
		if len(p.Members) >= limit {
			return true, nil
		}
		a, err := d.direct(ctx, stream(c.shard), prefix, directRequest{
			Seq: c.seq, NextFor: prefix + subject.PresenceKeys(topic), Batch: maxSnapshot, MaxBytes: pageBytes,
		})
		if errors.Is(err, errNotFound) {
			return false, nil
		}
		if err != nil {
			if time.Since(begun) > 2*pageTimeout || wait(ctx, retryFirst) != nil {
				return false, err
			}
			continue
		}
		var found []record
		var gws []string
		for _, r := range entries(a.records) {
			if k, ok := v.parse(r.key); ok && r.op != opRemove {
				found = append(found, r)
				gws = append(gws, k.gw)
			}
		}
		shown, err := d.shown(ctx, gws)
		if err != nil {
			return false, err
		}
		for _, r := range found {
			k, _ := v.parse(r.key)
			if len(p.Members) >= limit {
				c.seq = r.seq
				return true, nil
			}
			if r.op == opLeaving && !d.ours(k.gw) || shown[k.gw] {
				p.Members = append(p.Members, Member{Channel: k.channel, Session: k.session, Value: r.value})
			}
		}
		if n := len(a.records); n > 0 {
			c.seq = a.records[n-1].seq + 1
		}
		if a.pending == 0 {
			return false, nil
		}
	}
}

// shown asks the loop which of the gateways are to be seen; our own entries come from the roster.
func (d *Directory) shown(ctx context.Context, gws []string) (map[string]bool, error) {
	all := make(map[string]bool)
	err := d.do(ctx, func(l *loop) {
		for _, gw := range gws {
			if p := l.peer(gw); p != nil && !p.ours {
				all[gw] = p.shown()
			}
		}
	})
	return all, err
}

// list gives our members of a topic behind a channel and session, in their order.
func (r *roster) list(topic protocol.Topic, channel protocol.Channel, session protocol.SessionID, limit int) []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Member
	for k, m := range r.members {
		if k.topic.Server != topic.Server || m.want == wantGone || k.topic.Channel != topic.Channel && !topic.Channel.Covers(k.topic.Channel) {
			continue
		}
		if k.topic.Channel < channel || k.topic.Channel == channel && k.session <= session {
			continue
		}
		all = append(all, Member{Channel: k.topic.Channel, Session: k.session, Value: m.value})
	}
	slices.SortFunc(all, func(a, b Member) int {
		if c := strings.Compare(string(a.Channel), string(b.Channel)); c != 0 {
			return c
		}
		return strings.Compare(string(a.Session), string(b.Session))
	})
	return all[:min(len(all), limit)]
}

// cursor is a place in a Snapshot: behind one of our members, or a sequence in a shard.
type cursor struct {
	channel protocol.Channel
	session protocol.SessionID
	remote  bool
	shard   int
	seq     uint64
}

// String is opaque to others.
func (c cursor) String() string {
	s := "o" + string(c.session) + "/" + string(c.channel)
	if c.remote {
		s = "r" + strconv.Itoa(c.shard) + "/" + strconv.FormatUint(c.seq, 10)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(s))
}

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return cursor{}, ErrCursor
	}
	first, second, ok := strings.Cut(string(b[1:]), "/")
	if !ok {
		return cursor{}, ErrCursor
	}
	switch b[0] {
	case 'o':
		if !plain(first) || second == "" {
			return cursor{}, ErrCursor
		}
		return cursor{session: protocol.SessionID(first), channel: protocol.Channel(second)}, nil
	case 'r':
		shard, err := strconv.Atoi(first)
		seq, err2 := strconv.ParseUint(second, 10, 64)
		if err != nil || err2 != nil || shard < 0 || shard > subject.Shards || seq == 0 {
			return cursor{}, ErrCursor
		}
		return cursor{remote: true, shard: shard, seq: seq}, nil
	}
	return cursor{}, ErrCursor
}
