package broker

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"fanfare/protocol"
)

// interest is which topics this node listens to. It is asked for every publication, by topic on the way of local
// ones and by subject on the way of those from the broker.
type interest struct {
	seed     maphash.Seed
	stripes  [64]stripe
	patterns atomic.Int64 // how many of the topics are patterns
	count    atomic.Int64
}

// stripe is a part of the maps, by the hash of their key.
type stripe struct {
	mu        sync.RWMutex
	topics    map[protocol.Topic]*Feed
	patterns  map[base]*Feed
	bySubject map[string]*Feed
}

// base is a pattern without its /*.
type base struct {
	server protocol.ServerID
	name   string
}

func newInterest() *interest {
	in := &interest{seed: maphash.MakeSeed()}
	for i := range in.stripes {
		in.stripes[i] = stripe{topics: map[protocol.Topic]*Feed{}, patterns: map[base]*Feed{}, bySubject: map[string]*Feed{}}
	}
	return in
}

func (in *interest) stripe(key string) *stripe {
	return &in.stripes[maphash.String(in.seed, key)%uint64(len(in.stripes))]
}

func (in *interest) size() int { return int(in.count.Load()) }

// add is false when the topic has a feed.
func (in *interest) add(f *Feed) bool {
	s := in.stripe(string(f.topic.Channel))
	s.mu.Lock()
	if s.topics[f.topic] != nil {
		s.mu.Unlock()
		return false
	}
	s.topics[f.topic] = f
	s.mu.Unlock()
	if f.topic.Channel.IsPattern() {
		name := f.topic.Channel.Base()
		s := in.stripe(name)
		s.mu.Lock()
		s.patterns[base{f.topic.Server, name}] = f
		s.mu.Unlock()
		in.patterns.Add(1)
	}
	s = in.stripe(f.subject)
	s.mu.Lock()
	s.bySubject[f.subject] = f
	s.mu.Unlock()
	in.count.Add(1)
	return true
}

func (in *interest) remove(f *Feed) {
	s := in.stripe(string(f.topic.Channel))
	s.mu.Lock()
	delete(s.topics, f.topic)
	s.mu.Unlock()
	if f.topic.Channel.IsPattern() {
		name := f.topic.Channel.Base()
		s := in.stripe(name)
		s.mu.Lock()
		delete(s.patterns, base{f.topic.Server, name})
		s.mu.Unlock()
		in.patterns.Add(-1)
	}
	s = in.stripe(f.subject)
	s.mu.Lock()
	delete(s.bySubject, f.subject)
	s.mu.Unlock()
	in.count.Add(-1)
}

// subject gives the feed that listens to a subject or filter, or nil.
func (in *interest) subject(name string) *Feed {
	s := in.stripe(name)
	s.mu.RLock()
	f := s.bySubject[name]
	s.mu.RUnlock()
	return f
}

// deliver hands an unstored publication to every feed of this node that its channel belongs to.
func (in *interest) deliver(p *protocol.Publication) {
	name := string(p.Channel)
	s := in.stripe(name)
	s.mu.RLock()
	f := s.topics[protocol.Topic{Server: p.Server, Channel: p.Channel}]
	s.mu.RUnlock()
	if f != nil {
		f.pass(p)
	}
	if in.patterns.Load() == 0 {
		return
	}
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '/' {
			continue
		}
		s := in.stripe(name[:i])
		s.mu.RLock()
		f := s.patterns[base{p.Server, name[:i]}]
		s.mu.RUnlock()
		if f != nil {
			f.pass(p)
		}
	}
}

// each calls f for every feed, outside of the locks.
func (in *interest) each(f func(*Feed)) {
	var feeds []*Feed
	for i := range in.stripes {
		s := &in.stripes[i]
		feeds = feeds[:0]
		s.mu.RLock()
		for _, feed := range s.topics {
			feeds = append(feeds, feed)
		}
		s.mu.RUnlock()
		for _, feed := range feeds {
			f(feed)
		}
	}
}

func (in *interest) closeAll() {
	in.each(func(f *Feed) { f.Detach() })
}
