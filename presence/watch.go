package presence

import (
	"context"
	"fmt"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// Watch is one subscription to the members of a channel or pattern.
type Watch struct {
	d *Directory
	v *view
}

// Watch tells sink about the members that other gateways have on a channel or below a pattern. It returns when
// those that are there have been handed to sink. When the broker cannot prove within Options.Patience that its
// answer is current (an election), what it gives is handed out and set right later; without any answer Watch
// waits until ctx ends.
//
// The directory keeps no count: two watches of one topic are two views.
func (d *Directory) Watch(ctx context.Context, topic protocol.Topic, sink Sink) (*Watch, error) {
	if err := subject.Check(topic.Channel); err != nil {
		return nil, fmt.Errorf("watch presence: %w", err)
	}
	if err := d.Ready(ctx); err != nil {
		return nil, fmt.Errorf("watch presence: %w", err)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	v := &view{
		topic:   topic,
		sink:    sink,
		entries: make(map[string]*entry),
		members: make(map[memberID]*member),
		maxSeq:  make([]uint64, d.o.Shards),
	}
	if !topic.Channel.IsPattern() {
		v.head = head(topic)
	}
	var err error
	if v.sub, err = d.o.Conn.ChanSubscribe(subject.Presence(topic), d.msgs); err != nil {
		return nil, fmt.Errorf("watch presence: %w", err)
	}
	w := &Watch{d, v}
	if err := d.do(ctx, func(l *loop) { l.add(v) }); err != nil {
		w.Stop()
		return nil, fmt.Errorf("watch presence: %w", err)
	}
	prove, giveUp := context.WithTimeout(ctx, d.o.Patience)
	defer giveUp()
	if d.o.Conn.FlushWithContext(prove) != nil {
		giveUp() // the subscription is not known to stand: what is read now proves nothing
	}
	readings, err := d.readTopic(ctx, prove, topic)
	var missing [][]string
	if err == nil {
		err = d.do(ctx, func(l *loop) {
			missing = l.applyReadings(v, readings, make([]uint64, d.o.Shards))
			l.flush()
		})
	}
	if err != nil {
		w.Stop()
		return nil, fmt.Errorf("watch presence: %w", err)
	}
	d.confirm(ctx, v, readings, missing)
	return w, nil
}

// Stop ends the watch. It does not block and may be called from anywhere; one call of Changed that is under way
// may still end after it.
func (w *Watch) Stop() {
	if w.v.stopped.Swap(true) {
		return
	}
	_ = w.v.sub.Unsubscribe()
	w.d.posts.add(func(l *loop) { l.del(w.v) })
}

// readTopic reads the members of a topic from all buckets that may have some.
func (d *Directory) readTopic(ctx, prove context.Context, topic protocol.Topic) ([]reading, error) {
	select {
	case d.readers <- struct{}{}:
		defer func() { <-d.readers }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	at := time.Now()
	shards := d.shards(topic)
	all := make([]reading, 0, len(shards))
	for _, shard := range shards {
		r, err := d.readAll(ctx, prove, shard, subject.PresenceKeys(topic))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	d.metrics.readSeconds.Observe(time.Since(at).Seconds())
	return all, nil
}

// add takes a view in.
func (l *loop) add(v *view) {
	v.loop = l
	v.at = len(l.order)
	l.order = append(l.order, v)
	l.views[v.sub] = v
}

// del lets a view go.
func (l *loop) del(v *view) {
	if l.views[v.sub] != v {
		return
	}
	delete(l.views, v.sub)
	last := len(l.order) - 1
	l.order[v.at] = l.order[last]
	l.order[v.at].at = v.at
	l.order[last] = nil
	l.order = l.order[:last]
	for _, e := range v.entries {
		l.drop(v, e)
	}
}
